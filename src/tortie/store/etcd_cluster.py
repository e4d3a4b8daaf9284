"""The members of an etcd cluster: which one answers, who we are to it, and its errors in ours."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

# gRPC would print its own complaints (a refused handshake, a lost connection) to stderr, and stop
# its threads before every fork; we report errors ourselves, and open stores after forking.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc
from google.protobuf.message import Message

from tortie.errors import Compacted, StoreError, StoreUnavailable
from tortie.store import etcd_pb2 as pb
from tortie.store.url import EtcdUrl

CALL_SECONDS = 5.0
PROBE_SECONDS = 2.0

# A silent loss of the network is noticed after 6 + 3 seconds. etcd cuts off clients that ping more
# often than every 5 s (--grpc-keepalive-min-time).
CHANNEL_OPTIONS = [
    ("grpc.keepalive_time_ms", 6000),
    ("grpc.keepalive_timeout_ms", 3000),
    ("grpc.http2.ping_timeout_ms", 3000),  # 60 s by default, and then it outlasts the one above
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
]

Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)
if TYPE_CHECKING:  # at run time grpc.Future takes no parameter
    Probe = grpc.Future[pb.StatusResponse]


@dataclass(frozen=True)
class Method(Generic[Q, A]):
    """One remote procedure: its path, and how its answer is read."""

    path: str
    parse: Callable[[bytes], A]


Range = Method[pb.RangeRequest, pb.RangeResponse]
RANGE = Range("/etcdserverpb.KV/Range", pb.RangeResponse.FromString)
Txn = Method[pb.TxnRequest, pb.TxnResponse]
TXN = Txn("/etcdserverpb.KV/Txn", pb.TxnResponse.FromString)
WATCH = "/etcdserverpb.Watch/Watch"
STATUS = "/etcdserverpb.Maintenance/Status"
AUTHENTICATE = "/etcdserverpb.Auth/Authenticate"

# A part of what etcd says -> what that means to an operator, and what to do.
REFUSALS: tuple[tuple[str, str, str], ...] = (
    ("invalid user ID or password", "wrong user or password", "correct them in the store URL"),
    ("user name is empty", "a user is required", "put user:password@ into the store URL"),
    ("user name not found", "there is no such user", "correct the user in the store URL"),
    ("permission denied", "permission denied", "grant the user's role these keys"),
    ("request is too large", "the commit is too large", "store smaller objects or fewer at once"),
    ("database space exceeded", "its database is full", "compact, defragment, disarm its alarm"),
    ("too many operations", "the commit is too large", "run etcd with --max-txn-ops=128"),
)
STALE_LOGIN = ("invalid auth token", "revision of auth store is old", "user name is empty")
GONE = ("required revision has been compacted", "required revision is a future revision")

PASSING = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
    }
)
# Answers to a probe from a member that lives, but tells its status only to root.
SHY = frozenset(
    {
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)


class Cluster:
    """Calls to whichever member answers. Safe for several threads, not for use across a fork."""

    def __init__(self, url: EtcdUrl) -> None:
        self._url = url
        self._credentials = _credentials(url)
        self._channels: dict[str, grpc.Channel] = {}
        self._member = ""  # the endpoint in use; empty: none is known to answer
        self._members_lock = threading.Lock()
        self._token: str | None = None
        self._token_lock = threading.Lock()
        self._closed = False
        _password(url)  # a file that cannot be read is told now, not in an hour
        for target in url.targets():
            self._channels[target] = self._dial(target)

    def call(self, method: Method[Q, A], request: Q, *, repeat: bool) -> A:
        """Call, moving on to another member if one fails.

        `repeat`: the call changes nothing, so it may be sent again when its answer was lost.
        Raises StoreUnavailable, Compacted, StoreError.
        """
        attempts = len(self._channels) + 2
        for attempt in range(1, attempts + 1):
            member = self.member()
            token = self._login(member)
            try:
                return self._unary(member, method, request, _metadata(token))
            except grpc.RpcError as error:
                if self.stale_login(detail(error), token):
                    again = True
                elif code(error) in PASSING:
                    self.suspect(member)
                    again = repeat or _unsent(error)
                else:
                    again = False
                if not again or attempt == attempts:
                    raise translated(error, member) from None
        raise AssertionError("unreachable")

    def stream(self, member: str, requests: Iterator[pb.WatchRequest]) -> WatchCall:
        """Open a watch stream to a member; its answers raise grpc.RpcError when it breaks."""
        token = self._login(member)
        method = self._channel(member).stream_stream(
            WATCH, pb.WatchRequest.SerializeToString, pb.WatchResponse.FromString
        )
        # hasleader: a member that loses its leader ends the stream instead of falling silent.
        metadata = (*_metadata(token), ("hasleader", "true"))
        with self._open():
            call = method(requests, metadata=metadata)
        return WatchCall(iter(call), call.cancel, token)

    def member(self) -> str:
        """An endpoint that answers: the one in use, else the first to answer a probe of all.

        Raises StoreUnavailable.
        """
        with self._members_lock:
            if not self._member:
                self._member = self._probe()
            return self._member

    def suspect(self, member: str) -> None:
        """A call to this endpoint failed: probe before the next."""
        with self._members_lock:
            if self._member == member:
                self._member = ""

    def stale_login(self, said: str, token: str) -> bool:
        """Whether etcd said that our login is not good any more; the next call then renews it."""
        if not self._url.user or not any(words in said for words in STALE_LOGIN):
            return False
        self.drop_login(token)
        return True

    def drop_login(self, token: str) -> None:
        """Log in anew for the next call, unless somebody did already."""
        with self._token_lock:
            if self._token == token:
                self._token = None

    def close(self) -> None:
        """Cancel all calls and streams."""
        self._closed = True
        for channel in self._channels.values():
            channel.close()

    @contextmanager
    def _open(self) -> Iterator[None]:
        """gRPC raises ValueError on a closed channel."""
        try:
            yield
        except ValueError:
            if self._closed:
                raise StoreUnavailable("the store is closed") from None
            raise

    def _dial(self, target: str) -> grpc.Channel:
        if self._credentials:
            return grpc.secure_channel(target, self._credentials, CHANNEL_OPTIONS)
        return grpc.insecure_channel(target, CHANNEL_OPTIONS)

    def _channel(self, member: str) -> grpc.Channel:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        return self._channels[member]

    def _unary(
        self, member: str, method: Method[Q, A], request: Q, metadata: tuple[tuple[str, str], ...]
    ) -> A:
        call = self._channel(member).unary_unary(
            method.path, type(request).SerializeToString, method.parse
        )
        with self._open():
            answer: A = call(request, timeout=CALL_SECONDS, metadata=metadata)
        return answer

    def _probe(self) -> str:
        answers: queue.SimpleQueue[tuple[str, Probe]] = queue.SimpleQueue()
        calls = []
        for target in self._channels:
            method = self._channel(target).unary_unary(
                STATUS, pb.StatusRequest.SerializeToString, pb.StatusResponse.FromString
            )
            with self._open():
                call = method.future(pb.StatusRequest(), timeout=PROBE_SECONDS)
            call.add_done_callback(_putter(answers, target))
            calls.append(call)
        failures = []
        try:
            for _ in calls:
                target, answer = answers.get()
                failure = _probe_failure(answer)
                if not failure:
                    return target
                failures.append(f"{target}: {failure}")
        finally:
            for call in calls:
                call.cancel()
        raise StoreUnavailable(
            f"no etcd member answers ({'; '.join(failures)})",
            "see that etcd runs, and that address and certificates in the store URL are right",
        )

    def _login(self, member: str) -> str:
        """The token to send along; empty if none is needed."""
        if not self._url.user:
            return ""
        with self._token_lock:
            if self._token is None:
                self._token = self._authenticate(member)
            return self._token

    def _authenticate(self, member: str) -> str:
        request = pb.AuthenticateRequest(name=self._url.user, password=_password(self._url))
        method = Method[pb.AuthenticateRequest, pb.AuthenticateResponse](
            AUTHENTICATE, pb.AuthenticateResponse.FromString
        )
        try:
            return self._unary(member, method, request, ()).token
        except grpc.RpcError as error:
            if "authentication is not enabled" in detail(error):
                return ""
            self.suspect(member)
            raise translated(error, member) from None


@dataclass(frozen=True)
class WatchCall:
    """An open stream, how to end it, and the token it was opened with."""

    answers: Iterator[pb.WatchResponse]
    cancel: Callable[[], object]
    token: str


def code(error: grpc.RpcError) -> grpc.StatusCode:
    """The status of a failed call."""
    return error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN


def detail(error: grpc.RpcError) -> str:
    """What the other side, or gRPC, said about a failed call; safe to print."""
    said = (error.details() or "") if isinstance(error, grpc.Call) else type(error).__name__
    return "".join(c if c.isprintable() else " " for c in said)[:300]


def translated(error: grpc.RpcError, member: str) -> StoreError:
    """A failed call as an error of ours."""
    said = detail(error)
    if any(words in said for words in GONE):
        return Compacted("the wanted revision is not kept by etcd any more", "list again")
    if code(error) in PASSING:
        return StoreUnavailable(f"etcd {member} did not answer ({code(error).name}: {said})")
    return refusal(said, member)


def refusal(said: str, member: str) -> StoreError:
    """The error for what etcd will refuse again, however often it is asked."""
    for words, meaning, cure in REFUSALS:
        if words in said:
            return StoreError(f"etcd {member} refused: {meaning}", cure)
    return StoreError(f"etcd {member} refused: {said}")


def _metadata(token: str) -> tuple[tuple[str, str], ...]:
    return (("token", token),) if token else ()


def _unsent(error: grpc.RpcError) -> bool:
    """Whether the call certainly never left this machine."""
    refused = "failed to connect to all addresses"
    return code(error) == grpc.StatusCode.UNAVAILABLE and detail(error).startswith(refused)


def _putter(answers: queue.SimpleQueue[tuple[str, Probe]], target: str) -> Callable[[Probe], None]:
    return lambda answer: answers.put((target, answer))


def _probe_failure(answer: Probe) -> str:
    """Why a probed member is not to be used; empty if it is."""
    try:
        return "" if answer.result().leader else "it sees no leader"
    except grpc.RpcError as error:
        return "" if code(error) in SHY else f"{code(error).name}: {detail(error)}"
    except grpc.FutureCancelledError:
        return "cancelled"


def _credentials(url: EtcdUrl) -> grpc.ChannelCredentials | None:
    if not url.ca and not url.cert:
        return None
    return grpc.ssl_channel_credentials(
        root_certificates=_read(url.ca) if url.ca else None,
        private_key=_read(url.key) if url.key else None,
        certificate_chain=_read(url.cert) if url.cert else None,
    )


def _password(url: EtcdUrl) -> str:
    """The password; from its file each time, so that it can be changed there."""
    if url.password_file is None:
        return url.password
    try:
        return _read(url.password_file).decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise StoreError(
            f"{url.password_file} is not text", "put the password into it as UTF-8"
        ) from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StoreError(
            f"{path} cannot be read ({error.strerror})", "correct the path in the store URL"
        ) from error
