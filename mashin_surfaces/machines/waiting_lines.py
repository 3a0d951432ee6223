"""Reads the steps that wait, start or keep something."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .definition import (
    Gate,
    Launch,
    LaunchMany,
    Recall,
    Remember,
    Step,
    WaitFor,
)
from .lines import Line
from .problems import Path
from .reader import Reader
from .sections import as_text, duration, first_words
from .step_heads import FLOW_CALL, read_head, text_of


def read_wait_for(reader: Reader, line: Line, at: int, path: Path) -> Step | None:
    head = read_head(reader, line, at, path)
    if head is None:
        return None
    values = head.values()
    settings: list[Line] = []
    for child in _read_assuming(reader, line, path, values):
        if first_words(child, ("schema",)) is None:
            settings.append(child)
        elif "fields" in values:
            reader.tell('A second "schema" in one step.', child.start)
        else:
            reader.no_rest(child, reader.rest(child, "schema"))
            values["fields"] = reader.fields(child.children, (*path, "fields"))
    known = ("event", "callback", "timeout", "on_timeout", "channel")
    for key, child in reader.keys(settings, "wait for", known):
        reader.mark((*path, key.name), child.start)
        if key.name == "on_timeout":
            match = FLOW_CALL.fullmatch(child.text, key.at)
            if match:
                values[key.name] = f"flow({match[1]})"
                continue
        found = reader.values(child, key.at)
        if not found:
            continue
        if key.name == "timeout":
            seconds = duration(reader, child, key.at, found[0])
            if seconds is not None:
                values[key.name] = seconds
        elif key.name == "callback":
            values[key.name] = getattr(found[0], "value", None)
        else:
            values[key.name] = as_text(reader, child, key.at, found[0])
    return reader.build(WaitFor, path, values, line.start)


def _read_assuming(reader: Reader, line: Line, path: Path, values: dict[str, Any]) -> list[Line]:
    """Puts ``assuming`` into ``values``; the other lines of the block."""
    others: list[Line] = []
    for child in line.children:
        if first_words(child, ("assuming",)) is None:
            others.append(child)
        elif "assuming" in values:
            reader.tell('A second "assuming" in one step.', child.start)
        else:
            values["assuming"] = reader.object(
                child, reader.rest(child, "assuming"), (*path, "assuming")
            )
    return others


def read_launch(reader: Reader, line: Line, at: int, path: Path) -> Step | None:
    head = read_head(reader, line, at, path, ("from", "machine"))
    if head is None:
        return None
    values: dict[str, Any] = {**head.values(), "inputs": {}}
    for option in head.options.values():
        values["machine"] = text_of(reader, line, at, option)
    inputs = _read_assuming(reader, line, path, values)
    for key, child in reader.keys(inputs, "This step"):
        if key.name == "machine" and not key.is_quoted:
            found = reader.values(child, key.at)
            values["machine"] = as_text(reader, child, key.at, found[0]) if found else None
            continue
        expression = reader.expression(reader.capture(child, key.at), (*path, "inputs", key.name))
        if expression is not None:
            values["inputs"][key.name] = expression
    return reader.build(Launch, path, values, line.start)


def read_launch_many(reader: Reader, line: Line, at: int, path: Path) -> Step | None:
    head = read_head(reader, line, at, path)
    if head is None:
        return None
    values = head.values()
    known = ("machine", "items", "input_key", "extra_input", "max_concurrency", "collect")
    settings = _read_assuming(reader, line, path, values)
    for key, child in reader.keys(settings, "launch_many", known):
        if key.name in {"items", "extra_input"}:
            expression = reader.expression(reader.capture(child, key.at), (*path, key.name))
            if expression is not None:
                values[key.name] = expression
            continue
        found = reader.values(child, key.at)
        if not found:
            continue
        if key.name in {"machine", "input_key"}:
            values[key.name] = as_text(reader, child, key.at, found[0])
        else:
            reader.mark((*path, key.name), child.start)
            values[key.name] = getattr(found[0], "value", None)
    return reader.build(LaunchMany, path, values, line.start)


def read_gate(reader: Reader, line: Line, at: int, path: Path) -> Step | None:
    head = read_head(reader, line, at, path)
    if head is None:
        return None
    values = head.values()
    known = ("title", "question", "context", "options", "class", "timeout")
    settings = _read_assuming(reader, line, path, values)
    for key, child in reader.keys(settings, "gate", known):
        name = "gate_class" if key.name == "class" else key.name
        reader.mark((*path, name), child.start + key.at)
        if key.name in {"title", "question", "context"}:
            template = reader.template(child, key.at, (*path, name))
            if template is not None:
                values[name] = template
        elif key.name == "options":
            value = reader.constant(child, key.at)
            if value and isinstance(value[0], list):
                values[name] = tuple(value[0])
            elif value:
                reader.unexpected(child, 'a list like ["yes", "no"]', at=key.at)
        elif found := reader.values(child, key.at):
            if key.name == "timeout":
                seconds = duration(reader, child, key.at, found[0])
                if seconds is not None:
                    values[name] = seconds
            else:
                values[name] = as_text(reader, child, key.at, found[0])
    return reader.build(Gate, path, values, line.start)


def read_memory(kind: type[Remember] | type[Recall]) -> Callable[..., Step | None]:
    def read(reader: Reader, line: Line, at: int, path: Path) -> Step | None:
        head = read_head(reader, line, at, path)
        if head is None:
            return None
        options: dict[str, str] = {}
        for key, child in reader.keys(line.children, "This step"):
            expression = reader.expression(
                reader.capture(child, key.at), (*path, "options", key.name)
            )
            if expression is not None:
                options[key.name] = expression
        return reader.build(kind, path, {**head.values(), "options": options}, line.start)

    return read
