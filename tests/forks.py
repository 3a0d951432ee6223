"""A child that is a copy of the test's process, as a server that forks its workers makes it."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable

import pytest
from django.db import connection

#: Seconds until the system ends a child that hangs: a copy has the locks of threads it lacks.
PATIENCE = 30


def forks(test: Callable[..., None]) -> Callable[..., None]:
    """A test that forks; on PostgreSQL alone.

    An SQLite connection must not be carried over a fork (sqlite.org/howtocorrupt.html, 2.6): the
    child may hang in a lock of the library, and takes the parent's files from under it.
    """
    skip = pytest.mark.skipif(
        connection.vendor == "sqlite", reason="SQLite's connections don't outlive a fork"
    )
    quiet = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
    marked: Callable[..., None] = skip(quiet(test))
    return marked


def forked(work: Callable[[], None]) -> int:
    """Do it in a child; the child's exit code, 0 when nothing was raised."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(PATIENCE)
            connection.connection = None  # the parent's: to close it would end it for both
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
