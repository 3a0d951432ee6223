"""Several processes on one port: the parent only starts them, starts them again when they die,
and ends them. It serves nothing itself, and imports neither a reactor nor the application.

Every worker listens on a socket of its own (``SO_REUSEPORT``); the system spreads connections.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

#: Seconds before a worker that died is started again: doubled each time, up to the most; back to
#: the first when it has lived for ``STEADY`` seconds.
FIRST_DELAY = 0.5
MOST_DELAY = 30.0
STEADY = 10.0
#: Seconds that workers get to end after a signal.
GRACE = 28.0

_ENDING = (signal.SIGTERM, signal.SIGINT)
_SIGNALS = (*_ENDING, signal.SIGCHLD)


class Worker:
    """A place for a process, and the process in it."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._delay = FIRST_DELAY
        self._start()

    def _start(self) -> None:
        self._started = time.monotonic()
        self._due: float | None = None
        # The worker reads its standard input to notice when its parent is gone. In a session of
        # its own Ctrl-C reaches the parent only.
        self._process = subprocess.Popen(  # noqa: S603  our own command line
            self._command, stdin=subprocess.PIPE, start_new_session=True
        )

    def tend(self) -> None:
        """Notice a death; start again when it is time."""
        now = time.monotonic()
        if self._due is None:
            code = self._process.poll()
            if code is None:
                return
            if now - self._started > STEADY:
                self._delay = FIRST_DELAY
            print(
                f"Worker {self._process.pid} ended with code {code}; "
                f"another one starts in {self._delay:g} s.",
                file=sys.stderr,
                flush=True,
            )
            self._close_pipe()
            self._due = now + self._delay
            self._delay = min(self._delay * 2, MOST_DELAY)
        if now >= self._due:
            due = self._due
            try:
                self._start()
            except OSError as error:  # no memory, no process left: the others go on
                print(f"A worker can't be started: {error}.", file=sys.stderr, flush=True)
                self._due = due + self._delay
                self._delay = min(self._delay * 2, MOST_DELAY)

    def terminate(self) -> None:
        if self._due is None:
            self._process.terminate()

    def wait(self, deadline: float) -> None:
        """Until it has ended; by force when the deadline (monotonic seconds) passes."""
        try:
            self._process.wait(max(0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._close_pipe()

    def _close_pipe(self) -> None:
        if self._process.stdin:
            self._process.stdin.close()


def supervise(command: Sequence[str], workers: int) -> None:
    """Keep ``workers`` processes of ``command`` alive until SIGTERM or SIGINT, then end them."""
    # Blocked, so that sigtimedwait() gets them and none is lost between two looks.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        crew = [Worker(command) for _ in range(workers)]
        while True:
            received = signal.sigtimedwait(_SIGNALS, FIRST_DELAY)
            # Stopped, and continued when the time is over, CPython tells of a signal that it has
            # not filled in: of any number.
            if received is not None and received.si_signo in _ENDING:
                break
            for worker in crew:
                worker.tend()
        for worker in crew:
            worker.terminate()
        deadline = time.monotonic() + GRACE
        for worker in crew:
            worker.wait(deadline)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def begin_work() -> None:
    """Called first in a worker: take signals again, and end when the parent is gone."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def watch() -> None:
        os.read(sys.stdin.fileno(), 1)  # nobody writes: this is the end
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()
