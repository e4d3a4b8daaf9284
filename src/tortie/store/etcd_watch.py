"""A watch on etcd that lives as long as any member does."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from tortie.errors import Compacted, StoreError, StoreUnavailable
from tortie.store import etcd_pb2 as pb
from tortie.store.base import Changes, Entry, Event
from tortie.store.checks import compacted
from tortie.store.etcd_cluster import Cluster, detail, refusal, translated

PATIENCE_SECONDS = 6.0  # how long a broken watch is tried again before its reader hears of it
RETRY_SECONDS = 0.2


def range_end(prefix: bytes) -> bytes:
    """The first key after all that begin with `prefix`. UTF-8 never ends in 0xff."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def entry_of(kv: pb.KeyValue) -> Entry:
    """A key that others wrote and that is not UTF-8 keeps its bytes as surrogates."""
    key = kv.key.decode(errors="surrogateescape")
    return Entry(key, kv.value, kv.mod_revision, kv.create_revision)


@dataclass(frozen=True)
class Head:
    """Where a cluster is: its id, and its revision as agreed by its members."""

    cluster_id: int
    revision: int


@dataclass(frozen=True)
class Mark:
    """What a history is known by: at `revision` this key was written, or ("") there was none."""

    key: str
    revision: int


class EtcdWatch:
    """See base.Watch. A thread reads the stream and puts what it says into a queue.

    `after` is of the cluster `cluster_id` (0: not known yet), and of the history with `mark` in it
    (None: not known); `head` asks where the cluster is now, `holds` whether a mark is in its
    history. A broken stream is opened again, from the last revision on, at any member that answers.
    """

    def __init__(
        self,
        cluster: Cluster,
        prefix: str,
        after: int,
        cluster_id: int,
        mark: Mark | None,
        head: Callable[[], Head],
        holds: Callable[[Mark], bool],
        forget: Callable[[EtcdWatch], None],
    ) -> None:
        self._cluster = cluster
        self._prefix = prefix.encode()
        self._after = after
        self._cluster_id = cluster_id
        self._mark = mark
        self._head = head
        self._holds = holds
        self._forget = forget
        self._queue: queue.SimpleQueue[Changes | StoreError | None] = queue.SimpleQueue()
        self._failure: StoreError | None = None
        self._closed = threading.Event()
        self._cancel: Callable[[], object] | None = None
        self._cancel_lock = threading.Lock()
        self._live = False  # a stream was opened since the last failure
        self._renewed = False  # the login was renewed since the last stream was opened
        threading.Thread(target=self._run, name="etcd-watch", daemon=True).start()

    def next(self, timeout: float | None = None) -> Changes | None:
        """See base.Watch."""
        if self._failure and not self._closed.is_set():
            raise self._failure
        try:
            item = self._queue.get(timeout is None or timeout > 0, timeout)
        except queue.Empty:
            return None
        if self._closed.is_set():
            self._queue.put(None)  # for the next call
            return None
        if isinstance(item, StoreError):
            self._failure = item
            raise item
        return item

    def close(self) -> None:
        """See base.Watch."""
        self._closed.set()
        self._queue.put(None)
        with self._cancel_lock:
            if self._cancel:
                self._cancel()
        self._forget(self)

    def _run(self) -> None:
        broken_since = time.monotonic()
        while not self._closed.is_set():
            try:
                self._follow()
            except StoreUnavailable as error:
                if self._live:
                    self._live = False
                    broken_since = time.monotonic()
                if time.monotonic() - broken_since > PATIENCE_SECONDS:
                    self._queue.put(error)
                    return
                self._closed.wait(RETRY_SECONDS)
            except StoreError as error:
                self._queue.put(error)
                return

    def _follow(self) -> None:
        """Open a stream and read it until it breaks, which is always told by a StoreError."""
        member = self._cluster.member()
        requests: queue.SimpleQueue[pb.WatchRequest | None] = queue.SimpleQueue()
        requests.put(self._create_request())
        stream = self._cluster.stream(member, iter(requests.get, None))
        with self._cancel_lock:
            self._cancel = stream.cancel
        if self._closed.is_set():
            stream.cancel()
        try:
            for answer in stream.answers:
                if answer.canceled:
                    raise self._cancelled(answer, member, stream.token)
                self._take(answer)
            raise StoreUnavailable(f"etcd {member} ended the watch")
        except grpc.RpcError as error:
            if self._cluster.stale_login(detail(error), stream.token):
                raise StoreUnavailable(f"etcd {member} wants a new login") from None
            self._cluster.suspect(member)
            raise translated(error, member) from None
        finally:
            requests.put(None)
            stream.cancel()

    def _create_request(self) -> pb.WatchRequest:
        # Without `fragment` a revision's events come in one answer: a transaction is never split.
        return pb.WatchRequest(
            create_request=pb.WatchCreateRequest(
                key=self._prefix,
                range_end=range_end(self._prefix),
                start_revision=self._after + 1,
                progress_notify=True,
            )
        )

    def _cancelled(self, answer: pb.WatchResponse, member: str, token: str) -> StoreError:
        """The error for a watch that etcd itself ended."""
        if answer.compact_revision:
            return compacted(self._after)
        # etcd 3.4 says "permission denied" as well to a login that it has forgotten.
        if token and not self._renewed:
            self._renewed = True
            self._cluster.drop_login(token)
            return StoreUnavailable(f"etcd {member} wants a new login")
        return refusal(answer.cancel_reason, member)

    def _take(self, answer: pb.WatchResponse) -> None:
        """Queue the events of one answer. Raises Compacted if they are of another history."""
        header = answer.header
        if self._cluster_id not in (0, header.cluster_id):
            raise Compacted("the etcd cluster was replaced by another", "list again")
        self._cluster_id = header.cluster_id
        if answer.created:
            # The member may only be behind the others; if all are, the cluster was restored.
            if header.revision < self._after and self._head().revision < self._after:
                raise Compacted("the revision of etcd went backwards", "list again")
            # A cluster that was emptied or restored keeps its id, and may be ahead of us again.
            if self._mark and not self._holds(self._mark):
                raise Compacted("etcd was restored from elsewhere", "list again")
            self._live, self._renewed = True, False
        events = [event for event in answer.events if event.kv.mod_revision > self._after]
        if events:
            self._after = events[-1].kv.mod_revision
            written = [event.kv for event in events if event.type == pb.Event.PUT]
            if written:
                self._mark = Mark(entry_of(written[-1]).key, written[-1].mod_revision)
            self._queue.put(Changes(self._after, tuple(_event(event) for event in events)))
        elif not answer.created and not answer.events:
            self._after = max(self._after, header.revision)  # progress: all before this was sent


def _event(event: pb.Event) -> Event:
    entry = entry_of(event.kv)
    return Event(entry.key, entry if event.type == pb.Event.PUT else None)
