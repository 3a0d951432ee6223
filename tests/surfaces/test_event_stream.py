"""Server-sent events: their form, and the life of a response made of them."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator
from contextlib import suppress

import pytest
from django.test import RequestFactory

from mashin_surfaces.surfaces.event_stream import (
    COMMENT,
    EventStream,
    event_text,
    wants_events,
)

DEADLINE = 30.0


class Source:
    """A generator of texts that tells what became of it."""

    def __init__(self, *texts: str, goes_on: bool = False, error: Exception | None = None) -> None:
        self.given: list[str] = []
        self.tasks: set[asyncio.Task[None] | None] = set()
        self.go_on = asyncio.Event()
        if not goes_on:
            self.go_on.set()
        self.error = error
        self.closed = asyncio.Event()
        self.texts = texts

    async def items(self) -> AsyncGenerator[str, None]:
        try:
            for text in self.texts:
                self.tasks.add(asyncio.current_task())
                self.given.append(text)
                yield text
            await self.go_on.wait()
            if self.error is not None:
                raise self.error
        finally:
            self.tasks.add(asyncio.current_task())
            self.closed.set()


def written(text: str) -> bytes:
    return event_text(text.encode())


async def is_closed(source: Source) -> bool:
    async with asyncio.timeout(DEADLINE):
        return await source.closed.wait()


@pytest.mark.parametrize(
    ("data", "words", "text"),
    [
        (b'{"a":1}', {}, b'data: {"a":1}\n\n'),
        (b"", {}, b"data: \n\n"),
        (b"one\ntwo\r\nthree", {}, b"data: one\ndata: two\ndata: three\n\n"),
        (b"{}", {"event": "end"}, b"event: end\ndata: {}\n\n"),
        (b"{}", {"event": "x", "id": "7"}, b"id: 7\nevent: x\ndata: {}\n\n"),
    ],
)
def test_an_event_is_written(data: bytes, words: dict[str, str], text: bytes) -> None:
    assert event_text(data, **words) == text


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("text/event-stream", True),
        ("text/event-stream, application/json;q=0.5", True),
        ("application/json, text/event-stream;q=0.5", False),
        ("text/event-stream;q=0", False),
        ("*/*", False),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
    ],
)
def test_events_are_for_those_who_ask_for_them(accept: str, wanted: bool) -> None:
    assert wants_events(RequestFactory().get("/", headers={"Accept": accept})) is wanted


def test_who_says_nothing_gets_no_events() -> None:
    assert not wants_events(RequestFactory().get("/"))


async def test_every_item_is_an_event_and_then_the_ending() -> None:
    source = Source("a", "b", "c")
    stream = EventStream(source.items(), written, ending=b"end")
    assert [text async for text in stream] == [written("a"), written("b"), written("c"), b"end"]
    assert await is_closed(source)
    assert len(source.tasks) == 1


async def test_the_first_item_can_be_looked_at_before() -> None:
    stream = EventStream(Source("a", "b").items(), written)
    assert await stream.first() == "a"
    assert [text async for text in stream] == [written("a"), written("b")]


async def test_a_stream_without_items_has_its_ending() -> None:
    stream = EventStream(Source().items(), written, ending=b"end")
    assert await stream.first() is None
    assert [text async for text in stream] == [b"end"]


async def test_silence_is_filled_and_nothing_lost_in_it() -> None:
    source = Source("a", goes_on=True)
    stream = EventStream(source.items(), written, ending=b"end", keep_alive=0.01)
    assert [await anext(stream) for _ in range(3)] == [written("a"), COMMENT, COMMENT]
    source.go_on.set()
    async with asyncio.timeout(DEADLINE):
        assert [text async for text in stream if text != COMMENT] == [b"end"]


async def test_it_is_no_more_than_two_items_ahead_of_its_reader() -> None:
    source = Source("a", "b", "c", "d", "e")
    stream = EventStream(source.items(), written)
    assert await stream.first() == "a"
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert source.given == ["a", "b", "c"]  # "b" is ready, "c" waits for its place
    await stream.aclose()


async def test_closing_it_closes_the_generator() -> None:
    source = Source("a", "b", "c", goes_on=True)
    stream = EventStream(source.items(), written)
    assert await anext(stream) == written("a")
    await stream.aclose()
    assert source.closed.is_set()
    assert len(source.tasks) == 1


async def test_closing_its_response_closes_the_generator() -> None:
    source = Source("a", goes_on=True)
    stream = EventStream(source.items(), written, ending=b"end")
    response = stream.response()
    await asyncio.to_thread(response.close)  # as Django does it
    assert await is_closed(source)
    async with asyncio.timeout(DEADLINE):
        assert [text async for text in stream] in ([b"end"], [written("a"), b"end"])


async def test_who_waits_is_told_when_it_is_closed() -> None:
    stream = EventStream(Source(goes_on=True).items(), written, ending=b"end")
    waiting = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)
    stream.close()
    async with asyncio.timeout(DEADLINE):
        assert await waiting == b"end"


@pytest.mark.parametrize("looks_first", [True, False])
async def test_a_reader_who_is_cancelled_closes_it(looks_first: bool) -> None:
    source = Source(goes_on=True)
    stream = EventStream(source.items(), written)
    reader = asyncio.create_task(stream.first() if looks_first else anext(stream))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert await is_closed(source)


async def test_what_the_generator_does_at_its_end_is_not_interrupted() -> None:
    """As Django does it when a client goes: it cancels the reader, and then closes the response."""
    is_ending, go_on, has_ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def items() -> AsyncGenerator[str, None]:
        try:
            yield "a"
            await asyncio.Event().wait()
        finally:
            is_ending.set()
            await go_on.wait()
            has_ended.set()

    stream = EventStream(items(), written)
    response = stream.response()
    assert await anext(stream) == written("a")
    reader = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)
    reader.cancel()
    async with asyncio.timeout(DEADLINE):
        await is_ending.wait()
        await asyncio.to_thread(response.close)
        closing = asyncio.create_task(stream.aclose())
        await asyncio.sleep(0)
        go_on.set()
        await closing
    assert has_ended.is_set()


async def test_a_generator_that_takes_its_end_for_something_else_ends_at_its_next_item() -> None:
    async def items() -> AsyncGenerator[str, None]:
        with suppress(asyncio.CancelledError):
            yield "a"
            await asyncio.Event().wait()
        for _ in range(5):
            yield "more"

    stream = EventStream(items(), written)
    assert await anext(stream) == written("a")
    async with asyncio.timeout(DEADLINE):
        await stream.aclose()


async def test_a_response_that_is_never_sent_closes_the_generator() -> None:
    """Its client went while a middleware had it: then nobody closes it."""
    source = Source("a", goes_on=True)
    stream = EventStream(source.items(), written)
    assert await stream.first() == "a"
    stream.response()
    gc.collect()
    assert await is_closed(source)


@pytest.mark.parametrize("error", [ValueError("broken"), TimeoutError("late")])
async def test_what_the_generator_raises_is_raised(error: Exception) -> None:
    stream = EventStream(Source("a", error=error).items(), written, ending=b"end")
    assert await anext(stream) == written("a")
    with pytest.raises(type(error), match=str(error)):
        await anext(stream)


async def test_no_proxy_keeps_it() -> None:
    stream = EventStream(Source().items(), written)
    response = stream.response()
    assert response["Content-Type"] == "text/event-stream"
    assert response["Cache-Control"] == "no-store"
    assert response["X-Accel-Buffering"] == "no"
    await stream.aclose()
