"""From a store to batches: list, then watch, and list again whenever the watch breaks."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tortie.errors import StoreError, StoreUnavailable, TortieError
from tortie.store.base import Changes, Entry, Event, Listing, Store, Watch

FIRST_DELAY_SECONDS = 0.2
LAST_DELAY_SECONDS = 5.0
BATCH_EVENTS = 10_000  # no more waiting commits are added to a batch beyond this many events


@dataclass(frozen=True, slots=True)
class Batch:
    """What changed, up to `revision` of the store `identity`: whole commits, each key once.

    After a listing (`relisted`; the first one too), `changes` are the differences to everything
    that was emitted before, and `listing` is all there is, for a reader that chose not to believe
    an earlier batch. The store has been read in full (`in_sync`) with the first batch.
    """

    changes: tuple[Event, ...]
    revision: int
    in_sync: bool
    identity: str
    relisted: bool = False
    listing: tuple[Entry, ...] | None = None


@dataclass(frozen=True, slots=True)
class Lost:
    """The store cannot be followed at the moment. A relisted batch comes when it can be again."""

    reason: str


class Syncer:
    """Emits Batch and Lost, from its own thread, until it is stopped.

    What it knows is kept as revision and hash of each value, so that a store that was restored or
    replaced, and counts revisions anew, is compared by what it holds.
    """

    def __init__(self, store: Store, prefix: str, emit: Callable[[Batch | Lost], None]) -> None:
        self._store = store
        self._prefix = prefix
        self._emit = emit
        self._known: dict[str, tuple[int, int]] = {}
        self._stopped = threading.Event()
        self._watch: Watch | None = None
        self._watch_lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="syncer", daemon=True)

    def start(self) -> None:
        """Begin. To be called once."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """End, and wait up to `timeout` seconds for the thread; nothing is emitted afterwards."""
        self._stopped.set()
        self.relist()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def relist(self) -> None:
        """List again soon, as if the watch had broken, but without a Lost."""
        with self._watch_lock:
            if self._watch:
                self._watch.close()

    def _run(self) -> None:
        lost = False
        delay = FIRST_DELAY_SECONDS
        while not self._stopped.is_set():
            try:
                identity, watch = self._list()
                lost, delay = False, FIRST_DELAY_SECONDS
                self._follow(identity, watch)
            except Exception as error:  # whatever it is must be told, not end the thread in silence
                if not lost:
                    self._tell(Lost(_reason(error)))
                lost = True
                self._stopped.wait(delay * random.uniform(0.5, 1.0))
                delay = min(2 * delay, LAST_DELAY_SECONDS)

    def _list(self) -> tuple[str, Watch]:
        """Emit the differences between what is known and what there is; watch what comes next."""
        identity = self._store.identity()
        listing = self._store.list(self._prefix)
        if self._store.identity() != identity:
            raise StoreUnavailable("the store was replaced while it was read")
        watch = self._store.watch(self._prefix, listing.revision)
        with self._watch_lock:
            self._watch = watch
            if self._stopped.is_set():
                watch.close()
        changes = self._differences(listing)
        self._tell(Batch(changes, listing.revision, True, identity, True, listing.entries))
        return identity, watch

    def _follow(self, identity: str, watch: Watch) -> None:
        """Emit what the watch says, until it is closed or fails."""
        try:
            while (changes := watch.next()) is not None:
                events, revision, error = _drain(watch, changes)
                # What came and went between two batches was never there for the reader.
                news = tuple(e for e in events if e.entry or e.key in self._known)
                self._learn(news)
                self._tell(Batch(news, revision, True, identity))
                if error:
                    raise error
        finally:
            watch.close()

    def _differences(self, listing: Listing) -> tuple[Event, ...]:
        present = {entry.key for entry in listing.entries}
        events = [Event(key, None) for key in self._known if key not in present]
        for entry in listing.entries:
            if self._known.get(entry.key) != _mark(entry):
                events.append(Event(entry.key, entry))
        self._learn(events)
        return tuple(events)

    def _learn(self, events: Iterable[Event]) -> None:
        for event in events:
            if event.entry is None:
                self._known.pop(event.key, None)
            else:
                self._known[event.key] = _mark(event.entry)

    def _tell(self, news: Batch | Lost) -> None:
        if not self._stopped.is_set():
            self._emit(news)


def _drain(watch: Watch, first: Changes) -> tuple[tuple[Event, ...], int, StoreError | None]:
    """The first changes and all that wait behind them: the last event of each key, in order.

    An error that comes meanwhile is returned, so that what came before it is not lost.
    """
    events: dict[str, Event] = {}
    error: StoreError | None = None
    changes: Changes | None = first
    revision = first.revision
    while changes is not None:
        revision = changes.revision
        for event in changes.events:
            events.pop(event.key, None)
            events[event.key] = event
        if len(events) >= BATCH_EVENTS:
            break
        try:
            changes = watch.next(0)
        except StoreError as caught:
            error, changes = caught, None
    return tuple(events.values()), revision, error


def _mark(entry: Entry) -> tuple[int, int]:
    return entry.revision, hash(entry.value)


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, TortieError) else f"{type(error).__name__}: {error}"
