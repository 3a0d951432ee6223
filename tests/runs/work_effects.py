"""Effects that write down in a run's book what they do, in whatever process.

Loaded through MASHIN_MODULES by the servers, and by Celery's workers.
"""

from __future__ import annotations

import asyncio
from typing import Any

from mashin_surfaces import charge, effect
from tests.runs.book import Book

#: Seconds between two looks whether it may go on.
LOOK = 0.02


@effect("work.note")
def note(book: str, name: str, value: Any = None) -> dict[str, Any]:
    """Does nothing but be done."""
    Book(book).write("begins", name)
    Book(book).write("ends", name)
    return {"name": name, "value": value}


@effect("work.wait")
async def wait(book: str, name: str) -> dict[str, Any]:
    """Goes on when the test says so; may be done again."""
    return await _wait(Book(book), name, 60)


@effect("work.send", idempotent=False)
async def send(book: str, name: str, seconds: float = 60) -> dict[str, Any]:
    """Goes on when the test says so, or after so many seconds; must not be done twice."""
    return await _wait(Book(book), name, seconds)


async def _wait(book: Book, name: str, seconds: float) -> dict[str, Any]:
    book.write("begins", name)
    until = asyncio.get_running_loop().time() + seconds
    while all(line.name != name for line in book.lines("may_go_on")):
        if asyncio.get_running_loop().time() > until:
            break
        await asyncio.sleep(LOOK)
    book.write("ends", name)
    return {"name": name}


@effect("work.fail")
def fail(book: str, name: str, times: int) -> dict[str, Any]:
    """Fails so many times."""
    pages = Book(book)
    pages.write("begins", name)
    if pages.begun().count(name) <= times:
        raise RuntimeError("it failed")
    return {"name": name}


@effect("work.spend")
def spend(book: str, name: str, amount: float) -> dict[str, Any]:
    """Costs something."""
    Book(book).write("begins", name)
    charge(amount, model="test", input_tokens=3, output_tokens=2)
    return {"spent": amount}


@effect("work.fill")
def fill(size: int) -> dict[str, Any]:
    """Gives so many characters."""
    return {"text": "x" * size}
