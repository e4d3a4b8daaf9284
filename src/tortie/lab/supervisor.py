"""The one process of a lab that keeps all others running.

It is forked from `tortie lab up`, detached, and forks every agent, server, router and etcd from
itself: what it has imported, they need not import again. What dies without being told to is
started again after a second, as systemd would. It is single-threaded, so that forking is safe.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import msgspec

from tortie.errors import LabError, TortieError
from tortie.kernel import netns
from tortie.kernel.subreaper import become_subreaper
from tortie.lab import processes
from tortie.lab.control import MAX_LINE, Answer, Ask, Running
from tortie.lab.processes import Task
from tortie.lab.state import SUPERVISOR, Lab

RESTART_SECONDS = 1.0
END_SECONDS = 3.0
LOG = "supervisor.log"


def launch(lab: Lab, tasks: Iterable[Task], prepare: Callable[[], None]) -> None:
    """Start a lab's supervisor. `prepare` is called in it before anything else.

    Nothing else is started yet. Must be called from a process without threads. Raises LabError.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    ready, tell = os.pipe()
    # Whoever is interrupted here would not know yet which process to end.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)
    try:
        child = os.fork()
        if child == 0:
            os.close(ready)
            _detached(lab, list(tasks), prepare, tell, before)
        os.close(tell)
        os.waitpid(child, 0)
        with os.fdopen(ready) as pipe:
            started = bool(pipe.read())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if not started:
        log = lab.directory / LOG
        said = log.read_text(errors="replace").strip() if log.exists() else ""
        raise LabError("the lab's supervisor does not start", said[-500:])


_INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _detached(
    lab: Lab,
    tasks: list[Task],
    prepare: Callable[[], None],
    tell: int,
    mask: Iterable[int],
) -> NoReturn:
    """In the first child: let go of the caller's terminal, pipes and process group."""
    code = 1
    try:
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        os.chdir("/")
        _redirect(lab.directory / LOG)
        tell = os.dup2(tell, 3)
        os.closerange(4, os.sysconf("SC_OPEN_MAX"))
        prepare()
        become_subreaper()
        supervisor = Supervisor(lab, tasks)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        identity = processes.start_of(os.getpid()) or ""
        (lab.directory / SUPERVISOR).write_text(identity)
        os.write(tell, identity.encode())
        os.close(tell)
        supervisor.run()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _redirect(log: Path) -> None:
    """Standard input from nowhere, output and errors to the end of a log file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(output)


@dataclass(slots=True)
class _Child:
    """A task and how it is: `pid` 0 if it does not run, `due` when it is to be started again."""

    task: Task
    wanted: bool = False
    pid: int = 0
    restarts: int = 0
    due: float | None = None


class Supervisor:
    """Keeps tasks running and answers on the control socket. None is started until asked for."""

    def __init__(self, lab: Lab, tasks: Iterable[Task]) -> None:
        self._lab = lab
        self._children = {task.name: _Child(task) for task in tasks}
        self._ending = False
        self._logs = lab.directory / "log"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        lab.control.unlink(missing_ok=True)
        self._listener.bind(str(lab.control))
        self._listener.listen(64)
        self._listener.setblocking(False)
        self._wake, self._waker = socket.socketpair()
        for end in (self._wake, self._waker):
            end.setblocking(False)

    def run(self) -> None:
        """Until SIGTERM: then everything in the lab's namespaces is ended."""
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._end)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        # Children share the pages of what is imported; the collector would touch them all.
        gc.collect()
        gc.freeze()
        waiting = selectors.DefaultSelector()
        waiting.register(self._listener, selectors.EVENT_READ, self._answer)
        waiting.register(self._wake, selectors.EVENT_READ, self._drain)
        while not self._ending:
            for key, _ in waiting.select(self._patience()):
                key.data()
            self._reap()
            self._start_due()
        spaces = [space.name for space in self._lab.plan.spaces]
        processes.end(lambda: processes.inside(spaces), END_SECONDS, self._reap)

    def _end(self, *_: object) -> None:
        self._ending = True

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._wake.recv(4096):
                pass

    # --- children -----------------------------------------------------------------------------

    def _patience(self) -> float | None:
        """Seconds until the next child is due."""
        dues = [child.due for child in self._children.values() if child.due is not None]
        return max(0.0, min(dues) - time.monotonic()) if dues else None

    def _reap(self) -> None:
        """Take note of children that ended, and collect orphans that came to us."""
        by_pid = {child.pid: child for child in self._children.values() if child.pid}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = by_pid.get(pid)
            if child is None:
                continue
            child.pid = 0
            if child.wanted and not self._ending:
                code = os.waitstatus_to_exitcode(status)
                print(f"{child.task.name} ended ({code}); it is started again", flush=True)
                child.due = time.monotonic() + RESTART_SECONDS

    def _start_due(self) -> None:
        now = time.monotonic()
        for child in self._children.values():
            if child.due is not None and child.due <= now:
                child.restarts += 1
                self._start(child)

    def _start(self, child: _Child) -> None:
        child.due = None
        child.pid = os.fork()
        if child.pid == 0:
            self._child(child.task, child.restarts > 0)

    def _child(self, task: Task, again: bool) -> NoReturn:
        """In the child: a session, a log and a network namespace of its own."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            os.setsid()
            _redirect(self._logs / f"{task.name.replace('/', '-')}.log")
            os.closerange(3, os.sysconf("SC_OPEN_MAX"))
            netns.enter(task.space)
            code = task.action(again)
        except SystemExit as leave:
            code = leave.code if isinstance(leave.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    # --- control ------------------------------------------------------------------------------

    def _answer(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self._listener.accept()
            with connection:
                connection.settimeout(1.0)
                line = connection.makefile("rb").readline(MAX_LINE)
                connection.sendall(msgspec.json.encode(self._do(line)) + b"\n")

    def _do(self, line: bytes) -> Answer:
        try:
            wish = msgspec.json.decode(line, type=Ask)
            chosen = [self._children[name] for name in wish.names]
        except (msgspec.MsgspecError, KeyError) as error:
            return Answer(error=f"the supervisor does not understand: {error}")
        try:
            for child in chosen:
                self._handle(child, wish.verb)
        except (OSError, TortieError) as error:
            return Answer(error=str(error))
        return Answer(
            [
                Running(name, child.pid, child.wanted, child.restarts)
                for name, child in self._children.items()
            ]
        )

    def _handle(self, child: _Child, verb: str) -> None:
        if verb == "start":
            child.wanted = True
            if not child.pid:
                self._start(child)
        elif verb == "stop":
            child.wanted = False
            child.due = None
            self._signal(child, signal.SIGTERM)
        elif verb == "kill":
            self._signal(child, signal.SIGKILL)

    def _signal(self, child: _Child, number: signal.Signals) -> None:
        # Not reaped yet, so the number is still this child's.
        if child.pid:
            os.kill(child.pid, number)
