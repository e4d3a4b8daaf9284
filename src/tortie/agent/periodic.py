"""Something to do again and again beside the loop: a thread of its own, ended with the agent."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from tortie.errors import TortieError

_log = logging.getLogger(__name__)


class Periodic:
    """Calls `do` every `seconds`; what it raises of ours is logged once until it changes."""

    def __init__(self, name: str, do: Callable[[], object], seconds: float) -> None:
        self._name = name
        self._do = do
        self._seconds = seconds
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin, at once."""
        self._thread.start()

    def stop(self) -> None:
        """End; waits a little for a call that is under way."""
        self._ending.set()
        self._thread.join(timeout=5.0)

    def _run(self) -> None:
        said = ""
        while not self._ending.is_set():
            try:
                self._do()
                said = ""
            except TortieError as error:
                if str(error) != said:
                    said = str(error)
                    _log.warning("%s: %s", self._name, said)
            self._ending.wait(self._seconds)
