"""The store of many machines: etcd v3.4 or later, over gRPC.

gRPC does not survive a fork: open the store in the process that uses it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from tortie.errors import Compacted, StoreUnavailable
from tortie.model.kinds import WORLD
from tortie.store import etcd_pb2 as pb
from tortie.store.base import Check, Entry, Listing, Op, Put
from tortie.store.checks import check_key, check_ops, conflict
from tortie.store.etcd_cluster import RANGE, TXN, Cluster
from tortie.store.etcd_watch import EtcdWatch, Head, Mark, entry_of, range_end
from tortie.store.url import EtcdUrl

PAGE = 2000  # keys in one answer of a listing
LIST_ATTEMPTS = 3


class EtcdStore:
    """Keeps the contract of base.Store. Reaches out when first used, not when made.

    Raises StoreError if a file that the URL names cannot be read. Calls give up after 5 seconds.
    """

    def __init__(self, url: EtcdUrl, page: int = PAGE) -> None:
        self._cluster = Cluster(url)
        self._page = page
        self._cluster_id = 0  # of the last answer
        self._listed: dict[str, tuple[int, Mark]] = {}
        """by prefix: the revision of the last listing, and what its history is known by"""
        self._watches: set[EtcdWatch] = set()
        self._watches_lock = threading.Lock()

    def identity(self) -> str:
        """The cluster's id, 16 hexadecimal digits; asked anew each time."""
        return f"{self._head(WORLD).cluster_id:016x}"

    def get(self, key: str) -> Entry | None:
        """See base.Store. A read through consensus."""
        check_key(key)
        answer = self._range(pb.RangeRequest(key=key.encode()))
        return entry_of(answer.kvs[0]) if answer.kvs else None

    def list(self, prefix: str) -> Listing:
        """See base.Store. Read in pages, all at the revision of the first."""
        check_key(prefix)
        for _ in range(LIST_ATTEMPTS):
            try:
                listing = self._list(prefix.encode())
            except Compacted:
                continue  # compacted, or replaced by a restored one, between two pages
            self._listed[prefix] = listing.revision, _mark(listing)
            return listing
        raise StoreUnavailable("etcd is compacted faster than it can be listed", "compact less")

    def commit(self, ops: Sequence[Op]) -> int:
        """See base.Store."""
        check_ops(ops)
        expecting = [op for op in ops if op.expect is not None]
        request = pb.TxnRequest(
            compare=[_compare(op) for op in expecting],
            success=[_request(op) for op in ops if not isinstance(op, Check)],
            failure=[_look(op) for op in expecting],
        )
        answer = self._cluster.call(TXN, request, repeat=False)
        if answer.succeeded:
            return answer.header.revision
        for op, response in zip(expecting, answer.responses, strict=True):
            kvs = response.response_range.kvs
            found = kvs[0].mod_revision if kvs else 0
            if found != op.expect:
                raise conflict(op.key, op.expect or 0, found)
        raise StoreUnavailable("etcd refused a commit whose expectations hold")

    def watch(self, prefix: str, after: int) -> EtcdWatch:
        """See base.Store. The watch outlives lost connections and restarts of a few seconds."""
        check_key(prefix)
        listed, mark = self._listed.get(prefix, (0, None))
        watch = EtcdWatch(
            self._cluster,
            prefix,
            after,
            self._cluster_id,
            mark if listed == after else None,
            lambda: self._head(prefix),
            lambda mark: self._holds(prefix, mark),
            self._forget,
        )
        with self._watches_lock:
            self._watches.add(watch)
        return watch

    def close(self) -> None:
        """See base.Store."""
        with self._watches_lock:
            watches = list(self._watches)
        for watch in watches:
            watch.close()
        self._cluster.close()

    def _forget(self, watch: EtcdWatch) -> None:
        with self._watches_lock:
            self._watches.discard(watch)

    def _head(self, key: str) -> Head:
        """Where the cluster is; `key` is one that our user may read."""
        header = self._range(pb.RangeRequest(key=key.encode(), keys_only=True)).header
        return Head(header.cluster_id, header.revision)

    def _holds(self, prefix: str, mark: Mark) -> bool:
        """Whether the mark is in the cluster's history. Raises Compacted if it is too long ago."""
        key = (mark.key or prefix).encode(errors="surrogateescape")
        request = pb.RangeRequest(key=key, keys_only=True, limit=1)
        if not mark.key:
            request.range_end = range_end(key)
        now = self._range(request).kvs
        if mark.key and now and now[0].mod_revision == mark.revision:
            return True
        request.revision = mark.revision
        then = self._range(request).kvs
        return [kv.mod_revision for kv in then] == ([mark.revision] if mark.key else [])

    def _range(self, request: pb.RangeRequest) -> pb.RangeResponse:
        answer = self._cluster.call(RANGE, request, repeat=True)
        self._cluster_id = answer.header.cluster_id
        return answer

    def _list(self, prefix: bytes) -> Listing:
        request = pb.RangeRequest(key=prefix, range_end=range_end(prefix), limit=self._page)
        first = answer = self._range(request)
        entries = [entry_of(kv) for kv in answer.kvs]
        request.revision = first.header.revision
        while answer.more:
            request.key = answer.kvs[-1].key + b"\0"
            answer = self._range(request)
            if answer.header.cluster_id != first.header.cluster_id:
                raise Compacted("the etcd cluster was replaced by another", "list again")
            entries += [entry_of(kv) for kv in answer.kvs]
        return Listing(tuple(entries), first.header.revision)


def _mark(listing: Listing) -> Mark:
    if not listing.entries:
        return Mark("", listing.revision)
    newest = max(listing.entries, key=lambda entry: entry.revision)
    return Mark(newest.key, newest.revision)


def _compare(op: Op) -> pb.Compare:
    key = op.key.encode()
    if op.expect:
        return pb.Compare(key=key, target=pb.Compare.MOD, mod_revision=op.expect)
    return pb.Compare(key=key, target=pb.Compare.CREATE, create_revision=0)


def _look(op: Op) -> pb.RequestOp:
    return pb.RequestOp(request_range=pb.RangeRequest(key=op.key.encode(), keys_only=True))


def _request(op: Op) -> pb.RequestOp:
    key = op.key.encode()
    if isinstance(op, Put):
        return pb.RequestOp(request_put=pb.PutRequest(key=key, value=op.value))
    return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=key))
