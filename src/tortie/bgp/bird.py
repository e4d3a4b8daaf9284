"""The driver that keeps BIRD as desired: started, configured, read back.

BIRD is a daemon of its own: it and its sessions outlive the agent, and a new agent adopts it. All
files lie in `RUN_DIR/bird`: the configuration, the control socket, the pid and the log. BIRD lives
in the network namespace of the thread that first applies.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from pathlib import Path

from tortie.bgp.answers import Session, unquoted
from tortie.bgp.control import BirdControl
from tortie.bgp.render import render
from tortie.desired import Bgp, Desired, Report
from tortie.errors import BgpError, KernelError
from tortie.kernel import process

_log = logging.getLogger(__name__)

# What a host without BGP runs if it had BGP before: no peer, nothing told, nothing learnt.
_IDLE = Bgp(router_id="127.0.0.1", local_as=64512)

_SETTLE = 10.0  # seconds for BIRD to start, or to run by a new configuration
_POLL = 0.02  # seconds
_RELIEF = 30.0  # seconds between looks for sessions whose flood is over
_BACK = 30.0  # seconds for the sessions of a restarted BIRD to be up again
_DEAF = 3  # silent liveness checks in a row, after which a BIRD that lives counts as hung

_PROTOCOL = re.compile(r"^protocol [a-z]+ (\w+) \{", re.ASCII | re.MULTILINE)


class BirdDriver:
    """Implements desired.Driver for `Desired.bgp`."""

    name = "bgp"

    def __init__(self, run_dir: Path, timeout: float = 5.0) -> None:
        self.directory = run_dir / "bird"
        self.config = self.directory / "bird.conf"
        self.control = BirdControl(self.directory / "bird.ctl", timeout)
        self._pid_file = self.directory / "bird.pid"
        self.bgp: Bgp = _IDLE
        """what BIRD was last told"""
        self._confirmed: str | None = None
        self._silent = 0
        self._restarting = False
        self._relieved = time.monotonic()

    def prepare(self) -> None:
        """Start the BIRD that ran before if it is dead, by its last configuration. Raises Missing.

        One that runs is left alone. What fails here, apply tries again and reports.
        """
        process.find("bird")
        try:
            if self.config.exists() and not self.alive():
                self._start(recover=True)
        except BgpError as error:
            _log.warning("BIRD does not run by its last configuration: %s", error)

    def apply(self, desired: Desired) -> Report:
        """Make BIRD run, and run by this. Raises BgpError: then the old configuration still holds.

        With no BGP desired, a BIRD of ours is left without peers; none is started for that.
        """
        if desired.bgp is None and not self.config.exists():
            return Report()
        if self._restarting:
            raise BgpError("BIRD is being restarted; what is new follows")
        try:
            text = render(desired.bgp or _IDLE, desired.node, self.directory)
        except ValueError as error:
            raise BgpError(f"this cannot be written as a BIRD configuration: {error}") from error
        alive = self.alive()
        if alive and text == self._confirmed:
            self.bgp = desired.bgp or _IDLE  # whom it leaves out is in no configuration
            return Report()
        self._confirmed = None
        try:
            self._bring(text, alive)
        except KernelError as error:
            raise BgpError(error.message, error.cure) from error
        except OSError as error:
            raise BgpError(f"{self.directory}: {error.strerror}") from error
        self._confirmed, self.bgp = text, desired.bgp or _IDLE
        return Report(changed=1)

    def close(self) -> None:
        """Nothing to let go of: BIRD goes on without us."""

    def alive(self) -> bool:
        """Whether our BIRD answers: under a millisecond.

        Raises BgpError while one lives but does not answer; after the third time it counts as dead.
        One that is being restarted counts as alive.
        """
        if self._restarting:
            return True
        try:
            self.control.status()
        except BgpError as error:
            # A socket that nobody serves will not come back to life; silence may end.
            if self._pid() is None or not isinstance(error.__cause__, TimeoutError):
                return False
            self._silent += 1
            if self._silent < _DEAF:
                raise
            return False
        self._silent = 0
        self._relieve()
        return True

    def _relieve(self) -> None:
        """Now and then: a peer that flooded us, and no longer does, is asked for its routes anew.

        BIRD takes nothing more of a session whose limit was hit, however few routes it has then.
        """
        if time.monotonic() - self._relieved < _RELIEF:
            return
        self._relieved = time.monotonic()
        for session in self.control.blocked():
            _log.info("BGP session %s had too many routes and no longer has", session)
            try:
                self.control.ask_again(session)
            except BgpError as error:  # a peer may not know how to be asked
                _log.warning("it stays as it is until the session ends: %s", error)

    def sessions(self) -> list[Session]:
        """The BGP sessions of this host; none if it never had BGP. Raises BgpError."""
        return self.control.sessions() if self.config.exists() else []

    def restart(self) -> None:
        """A planned restart: BIRD ends and starts, while its peers and the kernel keep all routes.

        It ends without a word, so that graceful restart begins at once; a peer whose session has
        BFD must take silence as a graceful restart too (`Bfd.graceful`), or it forgets the routes
        until the session is back. Waits for the sessions, and their BFD, that were up before.
        Raises BgpError.
        """
        if not self.config.exists() or not self.alive():
            raise BgpError("no BIRD of ours runs here")
        old, wanted = self._pid(), self._up()
        self._restarting = True
        try:
            self.control.restart_gracefully()
            self._await_end(old)
            self._start(recover=True)
        finally:
            self._restarting = False
        if not _until(lambda: wanted <= self._up(), _BACK):
            lost = ", ".join(sorted(wanted - self._up()))
            raise BgpError(f"BIRD was restarted, but not all is up again: {lost}")

    def _up(self) -> set[str]:
        """The sessions, and the addresses whose BFD, are up."""
        sessions = {each.name for each in self.control.sessions() if each.state == "Established"}
        watched = self.control.watched() if any(peer.bfd for peer in self.bgp.peers) else {}
        return sessions | {f"BFD with {peer}" for peer, state in watched.items() if state == "Up"}

    def stop(self) -> None:
        """Take this host out of BGP for good: peers and kernel forget its routes, BIRD ends.

        Raises BgpError, KernelError.
        """
        if not self.config.exists():
            return
        self.apply(Desired(node="stopping", revision=0))
        _until(_kernel_is_clean, 5.0)
        old = self._pid()
        self.control.shut_down()
        self._await_end(old)
        self._confirmed = None
        self.config.unlink()

    def _await_end(self, pid: int | None) -> None:
        """Wait for a BIRD of ours: its pid file goes before its socket does. Raises BgpError."""
        mark = str(self.control.path)
        if pid is not None and not _until(lambda: not process.is_running(pid, mark), _SETTLE):
            raise BgpError(f"BIRD (process {pid}) does not end")

    def _bring(self, text: str, alive: bool) -> None:
        """From whatever is there to a BIRD that runs by `text`."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        previous = self.config.read_text() if self.config.exists() else None
        if not alive and previous is not None:
            # First as it was, so that a refused new configuration does not leave us without any.
            try:
                self._start(recover=True)
                alive = True
            except BgpError as error:
                _log.warning("BIRD does not start by its last configuration: %s", error)
        if text != previous:
            self._check(text).replace(self.config)
        try:
            if alive:
                # Also when the file is the same: BIRD may have been started before it was written.
                self.control.configure()
            else:
                self._start(recover=previous is not None)
            self._read_back(text)
        except BgpError:
            if alive and previous is not None:
                self._write(previous).replace(self.config)
            raise

    def _check(self, text: str) -> Path:
        """A file with the text, once BIRD has found it right. Raises BgpError."""
        path = self._write(text)
        done = process.run(["bird", "-p", "-c", str(path)], check=False)
        if done.returncode != 0:
            path.unlink()
            said = unquoted(done.stderr.strip())
            raise BgpError(f"BIRD refuses the new configuration, so the old one stays: {said}")
        return path

    def _write(self, text: str) -> Path:
        path = self.config.with_suffix(".new")
        path.unlink(missing_ok=True)
        path.touch(mode=0o600, exist_ok=False)
        path.write_text(text)
        return path

    def _start(self, recover: bool) -> None:
        """Start BIRD; with `recover` it takes over what its predecessor left in the kernel."""
        left = self._pid()
        if left is not None:
            # One of ours that cannot be reached any more. Killed, not ended: so peers keep its
            # routes (graceful restart) until the next one speaks to them.
            process.kill(left, str(self.control.path))
        self._silent = 0
        files = ["-c", self.config, "-s", self.control.path, "-P", self._pid_file]
        command = ["bird", *map(str, files), *(["-R"] if recover else [])]
        done = process.run(command, check=False)
        if done.returncode != 0:
            raise BgpError(f"BIRD does not start: {unquoted(done.stderr.strip())}")
        if not _until(self._answers, _SETTLE):
            raise BgpError("BIRD was started but does not answer", f"see {self.directory}/bird.log")

    def _answers(self) -> bool:
        try:
            return self.control.status().running
        except BgpError:
            return False

    def _read_back(self, text: str) -> None:
        """Wait until BIRD runs just the protocols of the configuration. Raises BgpError."""
        wanted = set(_PROTOCOL.findall(text))
        if not _until(lambda: set(self.control.protocols()) == wanted, _SETTLE):
            raise BgpError("BIRD does not run by its new configuration", f"see {self.directory}")

    def _pid(self) -> int | None:
        """The process of our BIRD, if one lives."""
        try:
            pid = int(self._pid_file.read_text())
        except (OSError, ValueError):
            return None
        return pid if process.is_running(pid, str(self.control.path)) else None


def _kernel_is_clean() -> bool:
    """Whether no route that BIRD made is left in this network namespace."""
    shown = [process.run(["ip", family, "route", "show", "proto", "bird"]) for family in _FLAGS]
    return not any(each.stdout.strip() for each in shown)


_FLAGS = ("-4", "-6")


def _until(holds: Callable[[], bool], seconds: float) -> bool:
    """Whether something came to hold within so many seconds."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL)
    return True
