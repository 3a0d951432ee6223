"""Reads the steps that ask: ``ask`` in its three forms, and ``action``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from .definition import (
    Action,
    AskEffect,
    AskMachine,
    AskModel,
    Step,
)
from .line_parts import Word
from .lines import Line
from .problems import Path
from .reader import Reader
from .sections import first_words
from .step_heads import read_head, text_of

_WITH: Final = ("role", "task", "tools", "temperature", "max_tokens")


def read_ask(reader: Reader, line: Line, at: int, path: Path) -> Step | None:
    head = read_head(reader, line, at, path, ("using", "from", "of", "to"))
    if head is None:
        return None
    sources = [key for key in ("using", "from", "of") if key in head.options]
    if len(sources) > 1:
        second = head.options[sources[1]].key
        reader.tell(
            f'An ask has one of using, from and of; this has "{sources[0]}" and "{sources[1]}".',
            line.start + at + second.at,
        )
        return None
    values = head.values()
    kind = sources[0] if sources else "using"
    option = head.options.get(kind)
    if option is not None:
        if isinstance(option.value, Word) or option.value.quoted is None:
            reader.unexpected(line, "a text in quotes", at=at + option.value.at)
            return None
        source = text_of(reader, line, at, option)
        if source is None:
            return None
        values[{"using": "model", "from": "source", "of": "machine"}[kind]] = source
        reader.mark(
            (*path, {"using": "model", "from": "source", "of": "machine"}[kind]),
            line.start + at + option.value.at,
        )
    if "to" in head.options:
        if kind != "from":
            reader.tell(
                '"to:" says how the source of an ask … from is treated; this has none.',
                line.start + at + head.options["to"].key.at,
            )
            return None
        values["mode"] = text_of(reader, line, at, head.options["to"])
    if kind == "using":
        _read_block(reader, line.children, path, values, withs=True)
        return reader.build(AskModel, path, values, line.start)
    if kind == "of":
        _read_block(reader, line.children, path, values, returns=False)
        return reader.build(AskMachine, path, values, line.start)
    values["inputs"] = {}
    _read_block(reader, line.children, path, values)
    return reader.build(AskEffect, path, values, line.start)


def read_action(reader: Reader, line: Line, at: int, path: Path) -> Step | None:
    head = read_head(reader, line, at, path, ("machine",), words=1)
    if head is None:
        return None
    if not head.words:
        reader.tell("An action says what it is: action NAME http, or action NAME call.", line.start)
        return None
    values = {**head.values(), "type": head.words[0].text, "inputs": {}}
    option = head.options.get("machine")
    if option is not None:
        start = at + option.value.at
        captured = reader.capture(Line(line.text, line.start, line.end, line.indent), start)
        expression = reader.expression(captured, (*path, "inputs", "machine"))
        if expression is not None:
            values["inputs"]["machine"] = expression
    _read_block(reader, line.children, path, values)
    return reader.build(Action, path, values, line.start)


def _read_block(
    reader: Reader,
    lines: Iterable[Line],
    path: Path,
    values: dict[str, Any],
    *,
    withs: bool = False,
    returns: bool = True,
) -> None:
    """``with …``, ``returns``, ``assuming`` and inputs; each only where ``values`` has place."""
    phrases = (*(("with",) if withs else ()), *(("returns",) if returns else ()), "assuming")
    inputs: list[Line] = []
    for line in lines:
        phrase = first_words(line, phrases)
        if phrase == "with":
            _read_with(reader, line, path, values)
        elif phrase and phrase in values:
            reader.tell(f'A second "{phrase}" in one step.', line.start)
        elif phrase == "returns":
            reader.no_rest(line, reader.rest(line, phrase))
            reader.mark((*path, phrase), line.start)
            values[phrase] = reader.fields(line.children, (*path, phrase))
        elif phrase == "assuming":
            at = reader.rest(line, phrase)
            values[phrase] = reader.object(line, at, (*path, phrase))
        elif "inputs" in values:
            inputs.append(line)
        else:
            expected = ", ".join(phrases[:-1]) + (" or " if phrases[1:] else "") + phrases[-1]
            reader.unexpected(line, expected, phrases)
    for key, line in reader.keys(inputs, "This step"):
        expression = reader.expression(reader.capture(line, key.at), (*path, "inputs", key.name))
        if expression is not None:
            values["inputs"][key.name] = expression


def _read_with(reader: Reader, line: Line, path: Path, values: dict[str, Any]) -> None:
    at = reader.rest(line, "with")
    match = re.compile(r"(\w+)\s*:?\s*").match(line.text, at)
    key = match[1] if match else ""
    if match is None or key not in _WITH:
        reader.unexpected(line, ", ".join(_WITH[:-1]) + f" or {_WITH[-1]}", _WITH, at=at)
        return
    if key in values:
        reader.tell(f'A second "with {key}" in one step.', line.start)
        return
    at = match.end()
    reader.mark((*path, key), line.start + at)
    if key in {"role", "task"}:
        template = reader.template(line, at, (*path, key))
        if template is not None:
            values[key] = template
    elif key == "tools":
        values[key] = tuple(_read_names(reader, line, at))
    elif value := reader.constant(line, at):
        if isinstance(value[0], bool) or not isinstance(value[0], int | float):
            reader.unexpected(line, "a number", at=at)
        else:
            values[key] = value[0]


def _read_names(reader: Reader, line: Line, at: int) -> list[str]:
    """``[a, "b"]`` or ``a, b``."""
    reader.no_block(line)
    inside = line.text[at:].strip()
    if inside.startswith("[") and inside.endswith("]"):
        start = line.text.index("[", at) + 1
        if not inside[1:-1].strip():
            return []
        line = Line(line.text[: line.text.rindex("]")], line.start, line.end, line.indent)
        at = start
    return list(reader.read("names", line, at) or ())
