"""A definition as mashinTalk, in its canonical form: ``parse(render(d)).definition == d``.

Of every two spellings the first in the language's reference is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from .definition import (
    Achieves,
    Ensures,
    MachineDefinition,
    OtherSurface,
    Permissions,
    SurfaceSpec,
    Test,
    Tool,
)
from .literals import write_text
from .rendered_steps import rendered_implements
from .rendered_values import (
    CAPABILITY,
    NEED,
    SCOPE,
    Lines,
    block_of,
    constant_lines,
    duration_text,
    field_lines,
    line_key,
    number_text,
    object_text,
    word_or_text,
)


def render(definition: MachineDefinition) -> str:
    """The source of a definition; ends with a line end."""
    title = f" {write_text(definition.title)}" if definition.title else ""
    lines = [(0, f"machine {definition.name}{title}")]
    for name, block in (
        ("accepts", field_lines(definition.accepts)),
        ("responds with", field_lines(definition.responds)),
        ("achieves", _achieves(definition.achieves)),
        ("ensures", _ensures(definition.ensures)),
        ("implements", rendered_implements(definition.implements)),
        ("tools", _tools(definition.tools)),
        ("verifies", _tests(definition.verifies)),
        ("expresses", _surfaces(definition.expresses)),
    ):
        lines += block_of(1, name, block)
    return "".join(f"{'  ' * depth}{text}".rstrip(" ") + "\n" for depth, text in lines)


# -- rules --------------------------------------------------------------------------------------


def _achieves(achieves: Achieves) -> Lines:
    yield from ((0, f"goal {word_or_text(goal)}") for goal in achieves.goals)
    yield from ((0, f"succeeds when {write_text(text)}") for text in achieves.succeeds_when)
    yield from ((0, f"never {write_text(text)}") for text in achieves.never)
    for example in achieves.examples:
        yield 0, "for example"
        yield 1, f"given {object_text(example.given)}"
        yield 1, f"expect {object_text(example.expect)}"


def _ensures(ensures: Ensures) -> Lines:
    limits = ensures.limits
    yield from block_of(0, "permissions", _permissions(ensures.permissions))
    yield from block_of(
        0,
        "limits",
        (
            (0, f"{name}: {write(value)}")
            for name, write in _LIMITS.items()
            if (value := getattr(limits, name)) is not None
        ),
    )
    if ensures.guards:
        yield 0, "guards"
        for name, settings in ensures.guards.items():
            yield 1, word_or_text(name)
            yield from ((2 + depth, text) for depth, text in constant_lines(settings))
    yield from block_of(0, "needs", _words(ensures.needs))


_LIMITS: Final[Mapping[str, Callable[[Any], str]]] = {
    "timeout": duration_text,
    "rate": write_text,
    "concurrency": str,
    "max_cost": number_text,
    "max_tokens": str,
    "warn_at": number_text,
    "max_parallel": str,
}


def _permissions(permissions: Permissions) -> Lines:
    for phrase, names in (
        ("allowed to", permissions.allowed),
        ("not allowed to", permissions.denied),
        ("requires approval for", permissions.requires_approval),
    ):
        yield from block_of(0, phrase, ((0, word_or_text(name, CAPABILITY)) for name in names))
    yield from block_of(0, "authority", _words(permissions.authority))


def _words(values: Mapping[str, str]) -> Lines:
    yield from ((0, f"{line_key(key)}: {word_or_text(value)}") for key, value in values.items())


# -- tools, tests, doors ------------------------------------------------------------------------


def _tools(tools: Iterable[Tool]) -> Lines:
    for tool in tools:
        line = f"{tool.name} from {write_text(tool.source)}"
        if tool.trigger != "manual" and tool.trigger_value is not None:
            line += f", {tool.trigger}: {write_text(tool.trigger_value)}"
        elif "trigger" in tool.model_fields_set:
            line += f", trigger: {tool.trigger}"
        if tool.needs:
            line += f", needs: {', '.join(word_or_text(name, NEED) for name in tool.needs)}"
        if tool.parallel:
            line += ", parallel: true"
        if tool.estimate is not None:
            line += f", estimate: {number_text(tool.estimate)}"
        if tool.estimate_tokens is not None:
            line += f", estimate_tokens: {tool.estimate_tokens}"
        yield 0, line


def _tests(tests: Iterable[Test]) -> Lines:
    for test in tests:
        yield 0, f"test {write_text(test.name)}"
        yield 1, f"given {object_text(test.given)}"
        for step, values in test.assuming.items():
            yield 1, f"assuming {word_or_text(step)} {object_text(values)}"
        yield 1, f"expect {object_text(test.expect)}"


def _surfaces(surfaces: Iterable[SurfaceSpec]) -> Lines:
    for surface in surfaces:
        yield 0, surface.kind
        if isinstance(surface, OtherSurface):
            yield from ((1 + depth, text) for depth, text in constant_lines(surface.options))
            continue
        for name, write in _SURFACE_VALUES.items():
            value = getattr(surface, name, None)
            if name in surface.model_fields_set and value is not None:
                yield 1, f"{name}: {write(value)}"


def _list_of_words(values: Sequence[str]) -> str:
    return ", ".join(value if value == "none" else word_or_text(value, SCOPE) for value in values)


def _grant(values: Sequence[str]) -> str:
    return ", ".join(word_or_text(value, SCOPE) for value in values) or "none"


_SURFACE_VALUES: Final[Mapping[str, Callable[[Any], str]]] = {
    "path": write_text,
    "method": write_text,
    "title": write_text,
    "layout": write_text,
    "dialect": str,
    "auth": _list_of_words,
    "scopes": _grant,
    "grant": _grant,
    "rate": write_text,
    "subscribe": word_or_text,
    "every": duration_text,
    "push": str,
    "idle_timeout": duration_text,
    "max_message": str,
    "concurrency": str,
}
