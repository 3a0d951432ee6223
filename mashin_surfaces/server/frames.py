"""Websocket frames (RFC 6455, section 5.2) of the two kinds that make up nearly all traffic:
whole, unmasked ones that a server sends, and short, whole, masked ones that a client sends.

Everything else (fragments, control frames, long or broken frames) is left to autobahn.
"""

from __future__ import annotations

from struct import Struct
from typing import Any, NamedTuple

from autobahn.websocket import xormasker

TEXT = 0x81
BINARY = 0x82
#: Payloads up to this many bytes are taken here; longer ones are autobahn's.
LONGEST = 0xFFFF

_HEADER = 2
_LONGER_HEADER = 4
_MASK = 4
_MASKED = 0x80
_SIXTEEN_BITS = 126
_SIXTY_FOUR_BITS = 127
#: Up to here Python's long integers unmask faster than autobahn's C function is called.
_SHORT = 1500

#: Untyped, and defined there or in its C part.
_create_xor_masker: Any = vars(xormasker)["create_xor_masker"]
_two_bytes = [bytes([first, length]) for first in (TEXT, BINARY) for length in range(126)]
_four_bytes = Struct("!BBH").pack
_ten_bytes = Struct("!BBQ").pack


def frame(first: int, payload: bytes) -> bytes:
    """One whole frame as a server sends it; ``first`` is ``TEXT`` or ``BINARY``."""
    length = len(payload)
    if length < _SIXTEEN_BITS:
        header = _two_bytes[length if first == TEXT else length + _SIXTEEN_BITS]
    elif length <= LONGEST:
        header = _four_bytes(first, _SIXTEEN_BITS, length)
    else:
        header = _ten_bytes(first, _SIXTY_FOUR_BITS, length)
    return b"".join((header, payload))


class LastText:
    """Frames texts, and remembers the last one: a text that is sent to many sockets is framed
    once. It is the same text when it is the same object; strings never change."""

    __slots__ = ("frame", "text")

    def __init__(self) -> None:
        self.text = ""
        self.frame = frame(TEXT, b"")

    def framed(self, text: str) -> bytes:
        if text is self.text:
            return self.frame
        whole = frame(TEXT, text.encode())
        if len(whole) <= LONGEST:  # long ones are not worth holding in memory
            self.text, self.frame = text, whole
        return whole


class Piece(NamedTuple):
    """What stands at a position of the received bytes. ``end`` is 0 when it is not a short frame
    (autobahn's business), and -1 when more bytes are needed to say."""

    end: int
    payload: str | bytes = b""


_MORE = (-1, 0)
_OTHER = (0, 0)


def short_frame(data: bytes, position: int, limit: int) -> Piece:
    """The short data frame at ``position``, if one is there with at most ``limit`` bytes.

    Text comes decoded. Text that is not UTF-8 is not ours: autobahn fails the connection.
    """
    end, start = _bounds(data, position, limit)
    if end <= 0:
        return Piece(end)
    payload = unmasked(data[start - 4 : start], data[start:end])
    if data[position] == BINARY:
        return Piece(end, payload)
    try:
        return Piece(end, payload.decode())
    except UnicodeDecodeError:
        return Piece(0)


def _bounds(data: bytes, position: int, limit: int) -> tuple[int, int]:
    """Where the frame at ``position`` ends (or 0, or -1, as in ``Piece``), and where its payload
    starts, behind the four bytes of its mask."""
    have = len(data) - position
    if have < _HEADER:
        return _MORE
    length = data[position + 1] - _MASKED
    if data[position] not in (TEXT, BINARY) or not 0 <= length <= _SIXTEEN_BITS:
        return _OTHER
    start = position + _HEADER + _MASK
    if length == _SIXTEEN_BITS:
        if have < _LONGER_HEADER:
            return _MORE
        start = position + _LONGER_HEADER + _MASK
        length = data[position + 2] << 8 | data[position + 3]
        if length < _SIXTEEN_BITS:  # not the shortest form: a mistake
            return _OTHER
    if length > limit:
        return _OTHER
    end = start + length
    return (end, start) if end <= len(data) else _MORE


def unmasked(mask: bytes, payload: bytes) -> bytes:
    """The payload without its mask (RFC 6455, section 5.3)."""
    length = len(payload)
    if length > _SHORT:
        plain: bytes = _create_xor_masker(mask, length).process(payload)
        return plain
    key = (mask * (length // 4 + 1))[:length]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(key, "little")).to_bytes(
        length, "little"
    )
