"""The threads that read credentials."""

from __future__ import annotations

import threading
from contextvars import ContextVar

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from mashin_surfaces.identity import threads

word: ContextVar[str] = ContextVar("word")


@pytest.mark.django_db(transaction=True)  # the threads look after their connections
async def test_work_is_done_elsewhere_with_the_callers_context() -> None:
    word.set("hello")
    name, heard = await threads.run(lambda: (threading.current_thread().name, word.get()))
    assert name.startswith("mashin-identity")
    assert heard == "hello"


@pytest.mark.django_db(transaction=True)
async def test_what_the_work_raises_comes_back() -> None:
    with pytest.raises(LookupError, match="gone"):
        await threads.run(_fail)


def _fail() -> None:
    raise LookupError("gone")


@pytest.mark.django_db(transaction=True)
def test_after_the_end_no_connection_is_open_and_work_goes_on() -> None:
    def connect() -> None:
        User.objects.exists()
        opened.append(connections["default"])
        together.wait(timeout=20)

    opened: list[BaseDatabaseWrapper] = []
    together = threading.Barrier(threads.THREADS)
    works = [threads.submit(connect) for _ in range(threads.THREADS)]
    for work in works:
        work.result(timeout=20)
    threads.close()
    assert len(opened) == threads.THREADS
    assert all(one.connection is None for one in opened)
    assert threads.submit(User.objects.exists).result(timeout=20) is False
    threads.close()
    threads.close()
