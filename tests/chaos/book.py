"""Effects that keep a book of their own: one line each time they begin, on the disk before they do
anything else. Loaded through MASHIN_MODULES; ``BOOK`` names the file.

What an effect gives is its line's word, which no other has: so it can be told which of several
times somebody has counted.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from mashin_surfaces import charge, effect
from mashin_surfaces.exceptions import Code, Refusal

#: US dollars that each begun effect costs.
COST = "0.01"
#: Seconds that they take: long enough to be killed in.
SOME_TIME = 0.08


class Line(NamedTuple):
    """An effect has begun: of which run (its number) and node, and the word that it gave."""

    run: int
    node: str
    word: str


def begin(run: int, node: str) -> str:
    """Write a line; its word."""
    word = uuid4().hex
    file = os.open(os.environ["BOOK"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, f"{run} {node} {word}\n".encode())
        os.fsync(file)
    finally:
        os.close(file)
    charge(COST)
    return word


def lines(book: Path) -> list[Line]:
    """All that was begun."""
    found = (line.split() for line in book.read_text().splitlines())
    return [Line(int(run), node, word) for run, node, word in found]


@effect("book.look")
async def look(run: int, node: str) -> dict[str, Any]:
    word = begin(run, node)
    await asyncio.sleep(SOME_TIME)
    return {"word": word}


@effect("book.write")
def write(run: int, node: str) -> dict[str, Any]:
    word = begin(run, node)
    time.sleep(SOME_TIME)
    return {"word": word}


@effect("book.slip")
async def slip(run: int, node: str) -> dict[str, Any]:
    """Fails the first time."""
    word = begin(run, node)
    await asyncio.sleep(SOME_TIME)
    if sum(line[:2] == (run, node) for line in lines(Path(os.environ["BOOK"]))) == 1:
        raise Refusal(Code.EXECUTION_FAILED, "It slipped.")
    return {"word": word}


@effect("book.send", idempotent=False)
async def send(run: int, node: str) -> dict[str, Any]:
    """Doing it twice is wrong."""
    word = begin(run, node)
    await asyncio.sleep(SOME_TIME)
    return {"word": word}
