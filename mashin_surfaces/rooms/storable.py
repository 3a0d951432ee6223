"""What every database keeps of JSON: PostgreSQL has no place for NUL in a document."""

from __future__ import annotations

import re
from typing import Any

from ..machines.json_values import NotJsonError, dumps, json_ready, undecimal

#: The escape, unless its backslash is itself escaped.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def storable(value: Any) -> Any:
    """A value of Python code as JSON columns keep it; ``NotJsonError`` for what they can't."""
    ready = undecimal(json_ready(value))
    if has_nul(ready):
        raise NotJsonError("Text with NUL characters can't be kept.")
    return ready


def has_nul(value: Any) -> bool:
    """Whether a JSON value has a NUL character anywhere, keys included."""
    text = dumps(value)
    return rb"\u0000" in text and _NUL.search(text) is not None
