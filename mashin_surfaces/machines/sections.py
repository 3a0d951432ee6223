"""Reads the sections that say what a machine is for and what it may: ``achieves``, ``ensures``,
``tools``, ``verifies``."""

from __future__ import annotations

import re
from typing import Any, Final, cast

from .definition import (
    Achieves,
    Ensures,
    Example,
    Limits,
    Permissions,
    Test,
    Tool,
)
from .line_parts import Constant, Header, Option, Quoted, Word
from .lines import Line
from .problems import Path
from .quantities import parse_duration
from .reader import Reader
from .wording import similar

_PERMISSIONS: Final = {
    "allowed to": "allowed",
    "not allowed to": "denied",
    "requires approval for": "requires_approval",
}
_LIMITS: Final = tuple(Limits.model_fields)
_TRIGGERS: Final = ("every", "cron", "on", "changes")
_TRUE_OR_FALSE: Final = "true or false"
_DOLLARS: Final = "a number of US dollars"
#: What else a tool may say, and what that is.
_SETTINGS: Final = {
    "parallel": _TRUE_OR_FALSE,
    "estimate": _DOLLARS,
    "estimate_tokens": "a whole number",
}


def first_words(line: Line, phrases: tuple[str, ...]) -> str | None:
    """Which of the phrases a line begins with, the longest first."""
    for phrase in sorted(phrases, key=len, reverse=True):
        if re.match(phrase.replace(" ", r"\s+") + r"(?![\w.:])", line.text):
            return phrase
    return None


# -- achieves -----------------------------------------------------------------------------------


def read_achieves(reader: Reader, section: Line) -> Achieves | None:
    path: Path = ("achieves",)
    phrases = ("goal", "succeeds when", "never", "for example")
    found: dict[str, list[Any]] = {"goals": [], "succeeds_when": [], "never": [], "examples": []}
    for line in section.children:
        phrase = first_words(line, phrases)
        if phrase is None:
            reader.unexpected(line, "goal, succeeds when, never or for example", phrases)
            continue
        at = reader.rest(line, phrase)
        if phrase == "for example":
            reader.no_rest(line, at)
            example = _read_example(reader, line, (*path, "examples", len(found["examples"])))
            found["examples"].append(example)
            continue
        key = {"goal": "goals", "succeeds when": "succeeds_when", "never": "never"}[phrase]
        reader.mark((*path, key, len(found[key])), line.start)
        if (text := _one_text(reader, line, at)) is not None:
            found[key].append(text)
    return reader.build(Achieves, path, found, section.start)


def _read_example(reader: Reader, block: Line, path: Path) -> Example:
    given: dict[str, dict[str, Any]] = {}
    for line in block.children:
        phrase = first_words(line, ("given", "expect"))
        if phrase is None or phrase in given:
            reader.unexpected(line, "given and expect, each once", ("given", "expect"))
            continue
        given[phrase] = reader.object(line, reader.rest(line, phrase), (*path, phrase))
    return Example(**given)


def _one_text(reader: Reader, line: Line, at: int) -> str | None:
    """A text in quotes, or a bare name."""
    values = reader.values(line, at)
    if len(values) > 1:
        reader.tell("Found several values, expected one text in quotes.", line.start + at)
        return None
    return as_text(reader, line, at, values[0]) if values else None


def as_text(reader: Reader, line: Line, at: int, value: Constant | Word) -> str | None:
    """A value that is a text or a word; None (and told) when it is something else."""
    if isinstance(value, Word):
        return value.text
    if value.quoted is None:
        reader.unexpected(line, "a text in quotes", at=at + value.at)
        return None
    return reader.text_of(value.quoted, line, at)


# -- ensures ------------------------------------------------------------------------------------


def read_ensures(reader: Reader, section: Line) -> Ensures | None:
    permissions: dict[str, Any] = {}
    found: dict[str, Any] = {}
    blocks = ("permissions", *_PERMISSIONS, "authority", "limits", "guards", "needs")
    for line in section.children:
        phrase = first_words(line, blocks)
        path: Path = ("ensures", phrase or "")
        if phrase is None:
            reader.unexpected(line, ", ".join(blocks[:-1]) + " or needs", blocks)
            continue
        at = reader.rest(line, phrase)
        if phrase in _PERMISSIONS or phrase == "authority":
            _read_permission(reader, line, phrase, permissions)
            continue
        reader.no_rest(line, at)
        reader.mark(path, line.start)
        if phrase == "permissions":
            _read_permissions(reader, line, permissions)
        elif phrase in found:
            reader.tell(f'A second "{phrase}".', line.start)
        elif phrase == "limits":
            found["limits"] = _read_limits(reader, line) or Limits()
        elif phrase == "guards":
            found["guards"] = _read_guards(reader, line)
        else:
            found["needs"] = _read_words(reader, line.children, path)
    if permissions:
        made = reader.build(Permissions, ("ensures", "permissions"), permissions, section.start)
        found["permissions"] = made or Permissions()
    return reader.build(Ensures, ("ensures",), found, section.start)


def _read_permissions(reader: Reader, block: Line, found: dict[str, Any]) -> None:
    phrases = (*_PERMISSIONS, "authority")
    for line in block.children:
        phrase = first_words(line, phrases)
        if phrase is None:
            reader.unexpected(line, ", ".join(phrases[:-1]) + " or authority", phrases)
            continue
        _read_permission(reader, line, phrase, found)


def _read_permission(reader: Reader, line: Line, phrase: str, found: dict[str, Any]) -> None:
    at = reader.rest(line, phrase)
    if phrase == "authority":
        reader.no_rest(line, at)
        reader.mark(("ensures", "permissions", "authority"), line.start)
        authority = _read_words(reader, line.children, ("ensures", "permissions", "authority"))
        found["authority"] = {**found.get("authority", {}), **authority}
        return
    key = _PERMISSIONS[phrase]
    names: list[str] = list(found.get(key, ()))
    path: Path = ("ensures", "permissions", key)
    reader.mark(path, line.start)
    if at >= len(line.text) and not line.children:
        reader.tell(
            f'Found nothing behind "{phrase}", expected names of effects like reason or http.get, '
            "on the same line or below.",
            line.start,
        )
    places = [(line, at)] if at < len(line.text) else []
    for place, begin in [*places, *((child, 0) for child in line.children)]:
        for name in reader.read("names", place, begin) or ():
            reader.mark((*path, len(names)), place.start)
            names.append(name)
        if place is not line:
            reader.no_block(place)
    found[key] = tuple(names)


def _read_limits(reader: Reader, block: Line) -> Limits | None:
    path: Path = ("ensures", "limits")
    values: dict[str, Any] = {}
    for key, line in reader.keys(block.children, "limits", _LIMITS):
        reader.mark((*path, key.name), line.start + key.at)
        found = reader.values(line, key.at)
        if len(found) != 1:
            if found:
                reader.tell("Found several values, expected one.", line.start + key.at)
            continue
        value = found[0]
        if key.name == "timeout":
            seconds = duration(reader, line, key.at, value)
            if seconds is not None:
                values["timeout"] = seconds
        elif key.name == "rate":
            values["rate"] = as_text(reader, line, key.at, value)
        elif isinstance(value, Word) or value.quoted or isinstance(value.value, bool):
            reader.unexpected(line, "a number", at=key.at)
        else:
            values[key.name] = value.value
    return reader.build(Limits, path, values, block.start)


def duration(reader: Reader, line: Line, at: int, value: Constant | Word) -> float | None:
    """Seconds, from a number or ``"200ms"``; None (and told) when it is neither."""
    given = value.text if isinstance(value, Word) else value.value
    if isinstance(value, Constant) and value.quoted:
        given = reader.text_of(value.quoted, line, at)
    try:
        return parse_duration(given)
    except ValueError as error:
        reader.tell(str(error), line.start + at)
        return None


def _read_guards(reader: Reader, block: Line) -> dict[str, dict[str, Any]]:
    guards: dict[str, dict[str, Any]] = {}
    for line in block.children:
        names: list[str] | None = reader.read("names", line)
        if names is None:
            continue
        if len(names) != 1 or names[0] in guards:
            reader.unexpected(line, "the name of one guard, each once")
            continue
        reader.mark(("ensures", "guards", names[0]), line.start)
        guards[names[0]] = reader.constants(line.children)
    return guards


def _read_words(reader: Reader, lines: list[Line], path: Path) -> dict[str, str]:
    """Lines of ``key: word`` (or text in quotes); ``requires: a, delegates: b`` on one line."""
    words: dict[str, str] = {}
    for key, line in reader.keys(lines, "This block"):
        reader.mark((*path, key.name), line.start)
        text = _one_text(reader, line, key.at)
        if text is not None:
            words[key.name] = text
    return words


# -- tools --------------------------------------------------------------------------------------


def read_tools(reader: Reader, section: Line) -> tuple[Tool, ...]:
    tools: list[Tool] = []
    for line in section.children:
        header: Header | None = reader.read("header", line)
        reader.no_block(line)
        if header is None:
            continue
        tool = _read_tool(reader, line, header, ("tools", len(tools)))
        if tool is not None:
            tools.append(tool)
    return tuple(tools)


def _read_tool(reader: Reader, line: Line, header: Header, path: Path) -> Tool | None:
    values: dict[str, Any] = {"name": header.name.text}
    needs: list[str] | None = None
    for part in header.parts:
        if isinstance(part, Word | Quoted):
            text = part.text if isinstance(part, Word) else reader.text_of(part, line)
            if needs is None or text is None:
                reader.unexpected(line, "from, trigger or needs", at=part.at)
                return None
            needs.append(text)
            continue
        key, at = part.key.text, part.value.at
        text = _text_of_option(reader, line, part)
        if key == "from" and text is not None:
            values["source"] = text
        elif key == "trigger":
            values["trigger"] = text
            reader.mark((*path, "trigger"), line.start + at)
        elif key in _TRIGGERS:
            values |= {"trigger": key, "trigger_value": text}
        elif key == "needs":
            needs = [] if text is None else [text]
        elif key in _SETTINGS:
            given = _tool_setting(reader, line, part)
            if given is None:
                return None
            values[key] = given
            reader.mark((*path, key), line.start + at)
        else:
            known = ("from", "trigger", *_TRIGGERS, "needs", *_SETTINGS)
            reader.tell(
                f'A tool has no "{key}"; it takes {", ".join(known)}.{similar(key, known)}',
                line.start + part.key.at,
            )
            return None
    if needs is not None:
        values["needs"] = tuple(needs)
    if "source" not in values:
        reader.tell('A tool is a name and where it comes from: move from "game.move".', line.start)
        return None
    return reader.build(Tool, path, values, line.start)


def _tool_setting(reader: Reader, line: Line, option: Option) -> bool | int | float | None:
    """The value of one of ``_SETTINGS``; None (and told) when it has another type."""
    value = option.value
    given = value.value if isinstance(value, Constant) and value.quoted is None else None
    expected = _SETTINGS[option.key.text]
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    if expected == _TRUE_OR_FALSE:
        is_right = isinstance(given, bool)
    else:
        is_right = is_number and (isinstance(given, int) or expected == _DOLLARS)
    if not is_right:
        reader.unexpected(line, expected, at=value.at)
        return None
    return cast("bool | int | float", given)


def _text_of_option(reader: Reader, line: Line, option: Option) -> str | None:
    value = option.value
    if isinstance(value, Constant) and value.quoted is None:
        return str(value.value)
    return as_text(reader, line, 0, value)


# -- verifies -----------------------------------------------------------------------------------


def read_verifies(reader: Reader, section: Line) -> tuple[Test, ...]:
    tests: list[Test] = []
    for block in section.children:
        if first_words(block, ("test",)) is None:
            reader.unexpected(block, 'test "…"', ("test",))
            continue
        path: Path = ("verifies", len(tests))
        name = _one_text(reader, _without_block(block), reader.rest(block, "test"))
        values: dict[str, Any] = {"name": name or "", "assuming": {}}
        for line in block.children:
            _read_test_line(reader, line, path, values)
        test = reader.build(Test, path, values, block.start)
        if test is not None:
            tests.append(test)
    return tuple(tests)


def _read_test_line(reader: Reader, line: Line, path: Path, values: dict[str, Any]) -> None:
    phrase = first_words(line, ("given", "assuming", "expect"))
    if phrase is None:
        reader.unexpected(line, "given, assuming or expect", ("given", "assuming", "expect"))
        return
    at = reader.rest(line, phrase)
    if phrase != "assuming":
        if phrase in values:
            reader.tell(f'A second "{phrase}" in one test.', line.start)
            return
        values[phrase] = reader.object(line, at, (*path, phrase))
        return
    match = re.compile(r'([^\W\d]\w*|"(?:[^"\\]|\\.)*")\s*').match(line.text, at)
    if match is None:
        reader.unexpected(line, "the name of a step", at=at)
        return
    step = match[1]
    if step.startswith('"'):
        step = reader.read("values", Line(step, line.start + at, line.end, 0))[0].quoted.text()
    if step in values["assuming"]:
        reader.tell(f'A second "assuming {step}" in one test.', line.start)
        return
    values["assuming"][step] = reader.object(line, match.end(), (*path, "assuming", step))


def _without_block(line: Line) -> Line:
    return Line(line.text, line.start, line.end, line.indent)
