"""Outputs as they are streamed: big ones are stored once, and referred to."""

from __future__ import annotations

from typing import Any

from ..conf import settings
from ..machines.json_values import dumps

#: Bytes of JSON from which an output is referred to.
MOST_SHOWN = 16 * 1024
#: Bytes of all results together from which they are.
MOST_RESULTS = 256 * 1024
#: Characters of it that are shown all the same.
PREVIEW = 200


def shown(output: Any, run: str, node: str, most: int = MOST_SHOWN) -> Any:
    """The output, or, from ``most`` bytes, ``{"$ref": url, "size": bytes, "preview": text}``."""
    return _shown(output, f"{settings.RUNS.PREFIX}/{run}/nodes/{node}/output", most)


def shown_results(results: dict[str, Any], run: str) -> Any:
    """All outputs by node; big ones, or all of them together, referred to."""
    each = {name: shown(output, run, name) for name, output in results.items()}
    return _shown(each, f"{settings.RUNS.PREFIX}/{run}/results", MOST_RESULTS)


def _shown(value: Any, url: str, most: int) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = dumps(value)
    if len(text) <= most:
        return value
    preview = text[: PREVIEW * 4].decode("utf-8", "ignore")[:PREVIEW]
    return {"$ref": url, "size": len(text), "preview": preview}
