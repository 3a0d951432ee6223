"""Effects that write into a book, a file, what they do and in which process."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from mashin_surfaces import charge, effect


def _write(book: str, word: str) -> None:
    with Path(book).open("a") as file:
        file.write(f"{word} {os.getpid()}\n")
        file.flush()
        os.fsync(file.fileno())


@effect("work.write")
def write(book: str, word: str) -> dict[str, Any]:
    """Writes a word."""
    _write(book, word)
    charge(0.5, model="test")
    return {"word": word}


@effect("work.slip")
def slip(book: str) -> dict[str, Any]:
    """Fails the first time."""
    _write(book, "slip")
    if Path(book).read_text().count("slip ") < 2:
        raise RuntimeError("slipped")
    return {"word": "slip"}


@effect("work.long")
async def long(book: str, seconds: float) -> dict[str, Any]:
    """Takes its time; may be done again."""
    _write(book, "long")
    await asyncio.sleep(seconds)
    return {"word": "long"}


@effect("work.send", idempotent=False)
async def send(book: str, seconds: float) -> dict[str, Any]:
    """Takes its time, and must not be done twice."""
    _write(book, "send")
    await asyncio.sleep(seconds)
    return {"word": "send"}
