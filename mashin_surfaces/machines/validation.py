"""What pydantic says of a definition, as problems in whole sentences."""

from __future__ import annotations

from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from .problems import Path, Problem

_NAME: Final = "a name has letters, digits and _ only, begins with no digit, at most 64 characters"
_SLUG: Final = (
    "a machine's name has small letters, digits and _ only, begins with a letter, "
    "at most 64 characters"
)


def problems_of(error: ValidationError, path: Path = ()) -> list[Problem]:
    """One problem for each error, at ``path`` and its own place below."""
    found: dict[tuple[Path, str], Problem] = {}
    for item in error.errors(include_url=False, include_context=True):
        place = (*path, *(part for part in item["loc"] if not _is_union_tag(part, item)))
        message = _sentence(item)
        found.setdefault((place, message), Problem(message, place))
    return list(found.values())


def _is_union_tag(part: str | int, item: ErrorDetails) -> bool:
    """Whether a part of the location names a member of a union, not a place in the data."""
    return part in _TAGS


_TAGS: Final = frozenset(
    {
        "ask_model", "ask_effect", "ask_machine", "action", "compute", "decide", "retry",
        "run_flow", "goto_flow", "wait_for", "launch", "launch_many", "gate", "remember",
        "recall", "websocket", "api", "page", "webhook", "a2a", "mcp", "publishes", "subscribes",
    }
)  # fmt: skip


def _sentence(item: ErrorDetails) -> str:
    kind, context = item["type"], item.get("ctx", {})
    key = next((str(part) for part in reversed(item["loc"]) if isinstance(part, str)), "")
    given = _shown(item["input"])
    match kind:
        case "greater_than_equal":
            return f'"{key}" is at least {context["ge"]}, this is {given}.'
        case "greater_than":
            return f'"{key}" is more than {context["gt"]}, this is {given}.'
        case "less_than_equal":
            return f'"{key}" is at most {context["le"]}, this is {given}.'
        case "literal_error":
            choices = context["expected"].replace("'", '"')
            return f'"{key}" is {choices}, this is {given}.'
        case "string_pattern_mismatch":
            rule = _SLUG if "A-Z" not in context["pattern"] else _NAME
            return f"Found the name {given}; {rule}."
        case "missing":
            return f'"{key}" is missing.'
        case "value_error":  # a sentence of ours
            return str(context["error"])
        case "extra_forbidden":
            return f'"{key}" is nothing that can stand here.'
    message = item["msg"].removeprefix("Input ").rstrip(".")
    return f'"{key}" {message}, this is {given}.' if key else f"{item['msg']}."


def _shown(value: Any) -> str:
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
