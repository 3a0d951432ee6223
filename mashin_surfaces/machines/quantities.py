"""Quantities as people write them: durations, rates, sizes; read into numbers and written back.

Everything that can't be read raises ``ValueError`` with a whole sentence.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

_NUMBER: Final = r"(\d+(?:\.\d+)?)"
_DURATION: Final = re.compile(rf"\s*{_NUMBER}\s*(ms|s|m|h|d)?\s*", re.ASCII)
_RATE: Final = re.compile(rf"\s*{_NUMBER}\s*/\s*([smh])(?:\s+burst\s+(\d+))?\s*", re.ASCII)
_SIZE: Final = re.compile(rf"\s*{_NUMBER}\s*(B|KiB|MiB|kB|MB)?\s*", re.ASCII)
_SECONDS: Final = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_BYTES: Final = {"B": 1, "KiB": 1024, "MiB": 1024**2, "kB": 1000, "MB": 1000**2}
_LONGEST: Final = 366 * 86400
_FASTEST: Final = 1_000_000
_LONGEST_SHOWN: Final = 60  # characters


@dataclass(frozen=True, slots=True)
class Rate:
    """``per_second`` in the long run, ``burst`` at once."""

    per_second: float
    burst: int


def parse_duration(value: str | float) -> float:
    """Seconds: from a number of seconds, or from ``"200ms" "2s" "30m" "24h" "7d"``."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(_no_duration(value))
    if isinstance(value, str):
        match = _DURATION.fullmatch(value)
        if match is None:
            raise ValueError(_no_duration(value))
        number, unit = float(match[1]), match[2] or "s"
        seconds = number / 1000 if unit == "ms" else number * _SECONDS[unit]
    else:
        seconds = float(value) if abs(value) <= _LONGEST else math.inf
    if not 0 < seconds <= _LONGEST:
        raise ValueError(f"A duration is longer than 0 and at most 366 days, this is {value!r}.")
    return seconds


def format_duration(seconds: float) -> str:
    """The shortest writing that ``parse_duration`` reads back to the same number."""
    for unit, size in _SECONDS.items():
        if seconds >= size and seconds % size == 0:
            return f"{int(seconds // size)}{unit}"
    milliseconds = round(seconds * 1000)
    if milliseconds and milliseconds / 1000 == seconds:
        return f"{milliseconds}ms"
    return f"{_plain(seconds)}s"


def parse_rate(text: str) -> Rate:
    """``"20/s burst 40"``; also ``/m`` and ``/h``. Without a burst it is one second's worth."""
    match = _RATE.fullmatch(text)
    if match is None:
        raise ValueError(f'{_shown(text)} is no rate; write "20/s", "100/m" or "20/s burst 40".')
    per_second = float(match[1]) / _SECONDS[match[2]]
    burst = float(match[3]) if match[3] else math.ceil(per_second)
    if not (0 < per_second <= _FASTEST and 1 <= burst <= _FASTEST):
        raise ValueError(f"A rate and its burst are from 1 to {_FASTEST}, this is {_shown(text)}.")
    return Rate(per_second, int(burst))


def parse_size(value: str | float) -> int:
    """Bytes: from a number of bytes, or from ``"64KiB" "1MiB" "500kB"``."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f'{_shown(value)} is no size; write a number of bytes, "64KiB" or "1MiB".')
    size = float(match[1]) * _BYTES[match[2] or "B"]
    if size > 2**53 or size != int(size):
        raise ValueError(f"{_shown(value)} is no whole number of bytes that can be counted.")
    return int(size)


def _no_duration(value: object) -> str:
    return (
        f"{_shown(value)} is no duration; write a number of seconds, "
        'or "200ms", "2s", "30m", "24h", "7d".'
    )


def _shown(value: object) -> str:
    text = f'"{value}"' if isinstance(value, str) else repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"


def _plain(number: float) -> str:
    """A number without an exponent, exactly."""
    text = repr(number)
    if "e" not in text:
        return text.removesuffix(".0")
    return format(Decimal(text), "f")
