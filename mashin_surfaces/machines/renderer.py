"""A definition as mashinTalk, in its canonical form: ``parse(render(d)).definition == d``.

Of every two spellings the first in the language's reference is written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from .definition import (
    Achieves,
    Action,
    AskEffect,
    AskMachine,
    AskModel,
    Branch,
    Compute,
    Decide,
    Ensures,
    Field,
    Gate,
    GotoFlow,
    Implements,
    Launch,
    LaunchMany,
    MachineDefinition,
    OtherSurface,
    Permissions,
    Recall,
    Remember,
    Retry,
    RunFlow,
    Step,
    SurfaceSpec,
    Test,
    Tool,
    Type,
    WaitFor,
)
from .literals import write_template, write_text
from .quantities import format_duration

_NAME: Final = re.compile(r"[^\W\d]\w*", re.ASCII)
_DOTTED: Final = re.compile(r"[A-Za-z_]\w*(?:\.\w+)*", re.ASCII)
_NEED: Final = re.compile(r"[A-Za-z_][\w.*/]*", re.ASCII)
_CAPABILITY: Final = re.compile(r"[A-Za-z_*][\w.*/-]*", re.ASCII)
_SCOPE: Final = re.compile(r"[A-Za-z_*@][\w.*:/@-]*", re.ASCII)
_CONSTANTS: Final = frozenset({"true", "false", "null", "nil"})
#: Words that begin a block wherever they stand on a line.
_BLOCK_WORDS: Final = frozenset({"returns", "schema", "assuming", "with"})

#: A line and how deep it stands.
Lines = Iterator[tuple[int, str]]


def render(definition: MachineDefinition) -> str:
    """The source of a definition; ends with a line end."""
    title = f" {write_text(definition.title)}" if definition.title else ""
    lines = [(0, f"machine {definition.name}{title}")]
    for name, block in (
        ("accepts", _fields(definition.accepts)),
        ("responds with", _fields(definition.responds)),
        ("achieves", _achieves(definition.achieves)),
        ("ensures", _ensures(definition.ensures)),
        ("implements", _implements(definition.implements)),
        ("tools", _tools(definition.tools)),
        ("verifies", _tests(definition.verifies)),
        ("expresses", _surfaces(definition.expresses)),
    ):
        lines += _block(1, name, block)
    return "".join(f"{'  ' * depth}{text}".rstrip(" ") + "\n" for depth, text in lines)


def _block(depth: int, name: str, lines: Iterable[tuple[int, str]]) -> Lines:
    """A line with a block below it; nothing when the block is empty."""
    inside = list(lines)
    if inside:
        yield depth, name
        yield from ((depth + 1 + below, text) for below, text in inside)


# -- values -------------------------------------------------------------------------------------


def constant(value: Any) -> str:
    """A JSON value, keys without quotes where they can be."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return write_text(value)
        case int() | float():
            return json.dumps(value, allow_nan=False)
        case Mapping():
            pairs = [f"{_key(str(key))}: {constant(item)}" for key, item in value.items()]
            return f"{{{', '.join(pairs)}}}"
        case _:
            return f"[{', '.join(constant(item) for item in value)}]"


def _key(name: str) -> str:
    return name if _NAME.fullmatch(name) and name not in _CONSTANTS else write_text(name)


def _line_key(name: str) -> str:
    return name if _DOTTED.fullmatch(name) else write_text(name)


def _word(value: str, pattern: re.Pattern[str] = _NAME) -> str:
    """A value that may stand without quotes."""
    plain = pattern.fullmatch(value) and value not in {*_CONSTANTS, "call", "none"}
    return value if plain else write_text(value)


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def _object(values: Mapping[str, Any]) -> str:
    return f"{{ {constant(values)[1:-1]} }}" if values else "{}"


def _expression(prefix: str, text: str) -> Lines:
    """``key: expression``; one on several lines stands below its key."""
    if "\n" in text:
        yield 0, prefix.rstrip()
        yield from ((1, line) for line in text.split("\n"))
    else:
        yield 0, f"{prefix}{text}"


def _constants(values: Mapping[str, Any]) -> Lines:
    yield from ((0, f"{_line_key(key)}: {constant(value)}") for key, value in values.items())


# -- fields -------------------------------------------------------------------------------------


def _fields(fields: Sequence[Field]) -> Lines:
    yield from ((0, _field(field)) for field in fields)


def _field(field: Field) -> str:
    return ", ".join([f"{field.name} as {_type(field.type)}", *_modifiers(field)])


def _type(kind: Type) -> str:
    match kind.name:
        case "list" if kind.item is not None:
            return f"list({_type(kind.item)})"
        case "object":
            return f"object {{{', '.join(_field(field) for field in kind.fields)}}}"
        case "enum" if kind.choices:
            return f"enum({', '.join(map(write_text, kind.choices))})"
    return kind.name


def _modifiers(field: Field) -> Iterator[str]:
    if field.required:
        yield "is required"
    if field.has_default:
        yield f"default: {constant(field.default)}"
    if field.min is not None and field.max is not None:
        yield f"range: [{_number(field.min)}, {_number(field.max)}]"
    else:
        for name in ("min", "max"):
            if (bound := getattr(field, name)) is not None:
                yield f"{name}: {_number(bound)}"
    for name in ("min_length", "max_length"):
        if (length := getattr(field, name)) is not None:
            yield f"{name}: {length}"
    if field.pattern is not None:
        yield f"pattern: {write_text(field.pattern)}"
    if field.format is not None:
        yield f"format: {write_text(field.format)}"
    if field.choices:
        yield f"choices: {constant(field.choices)}"
    if field.label:
        yield f"label {write_text(field.label)}"
    if field.description:
        yield f"description {write_text(field.description)}"
    if field.secret:
        yield "secret"


# -- rules --------------------------------------------------------------------------------------


def _achieves(achieves: Achieves) -> Lines:
    yield from ((0, f"goal {_word(goal)}") for goal in achieves.goals)
    yield from ((0, f"succeeds when {write_text(text)}") for text in achieves.succeeds_when)
    yield from ((0, f"never {write_text(text)}") for text in achieves.never)
    for example in achieves.examples:
        yield 0, "for example"
        yield 1, f"given {_object(example.given)}"
        yield 1, f"expect {_object(example.expect)}"


def _ensures(ensures: Ensures) -> Lines:
    limits = ensures.limits
    yield from _block(0, "permissions", _permissions(ensures.permissions))
    yield from _block(
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
            yield 1, _word(name)
            yield from ((2 + depth, text) for depth, text in _constants(settings))
    yield from _block(0, "needs", _words(ensures.needs))


def _duration(seconds: float) -> str:
    return write_text(format_duration(seconds))


_LIMITS: Final[Mapping[str, Callable[[Any], str]]] = {
    "timeout": _duration,
    "rate": write_text,
    "concurrency": str,
    "max_cost": _number,
    "max_tokens": str,
    "warn_at": _number,
}


def _permissions(permissions: Permissions) -> Lines:
    for phrase, names in (
        ("allowed to", permissions.allowed),
        ("not allowed to", permissions.denied),
        ("requires approval for", permissions.requires_approval),
    ):
        yield from _block(0, phrase, ((0, _word(name, _CAPABILITY)) for name in names))
    yield from _block(0, "authority", _words(permissions.authority))


def _words(values: Mapping[str, str]) -> Lines:
    yield from ((0, f"{_line_key(key)}: {_word(value)}") for key, value in values.items())


# -- steps --------------------------------------------------------------------------------------


def _implements(implements: Implements) -> Lines:
    yield from _steps(implements.steps)
    yield from _block(0, "on failure", _steps(implements.on_failure))
    if implements.flows:
        yield 0, "flows"
        for flow in implements.flows:
            yield 1, f"flow {flow.name}"
            yield from ((2 + depth, text) for depth, text in _steps(flow.steps))
            for depth, text in _block(0, "on failure", _steps(flow.on_failure)):
                yield 2 + depth, text
    if implements.state:
        yield 0, "state"
        for field in implements.state:
            default = "" if field.default is None else f", default: {constant(field.default)}"
            yield 1, f"{field.name} as {_type(field.type)}{default}"


def _steps(steps: Iterable[Step]) -> Lines:
    for step in steps:
        yield from _step(step)


def _step(step: Step) -> Lines:
    head, block = _STEP_WRITERS[type(step)](step)
    if step.after is not None:
        head += f", after: {', '.join(step.after) or 'none'}"
    yield 0, head
    yield from ((1 + depth, text) for depth, text in block)


def _results(step: Any) -> Lines:
    """``returns`` and ``assuming``."""
    yield from _block(0, "returns", _fields(getattr(step, "returns", ())))
    if step.assuming is not None:
        if step.assuming:
            yield from _block(0, "assuming", _constants(step.assuming))
        else:
            yield 0, "assuming {}"


def _inputs(inputs: Mapping[str, str], quoted: Iterable[str] = ()) -> Lines:
    for key, text in inputs.items():
        name = write_text(key) if key in quoted else _line_key(key)
        yield from _expression(f"{name}: ", text)


Written = tuple[str, Iterable[tuple[int, str]]]


def _ask_model(step: AskModel) -> Written:
    def block() -> Lines:
        if step.role:
            yield 0, f"with role {write_template(step.role)}"
        if step.task:
            yield 0, f"with task {write_template(step.task)}"
        if step.tools:
            yield 0, f"with tools [{', '.join(_word(name, _CAPABILITY) for name in step.tools)}]"
        if step.temperature is not None:
            yield 0, f"with temperature {_number(step.temperature)}"
        if step.max_tokens is not None:
            yield 0, f"with max_tokens {step.max_tokens}"
        yield from _results(step)

    using = f", using: {write_text(step.model)}" if step.model else ""
    return f"ask {step.name}{using}", block()


def _ask_effect(step: AskEffect) -> Written:
    mode = "" if step.mode is None else f", to: {_word(step.mode)}"
    head = f"ask {step.name}, from: {write_text(step.source)}{mode}"
    return head, [*_inputs(step.inputs), *_results(step)]


def _ask_machine(step: AskMachine) -> Written:
    return f"ask {step.name}, of: {write_text(step.machine)}", _results(step)


def _action(step: Action) -> Written:
    is_plain = _NAME.fullmatch(step.type) and step.type not in _BLOCK_WORDS
    kind = f" {step.type}" if is_plain else f", {write_text(step.type)}"
    return f"action {step.name}{kind}", [*_inputs(step.inputs), *_results(step)]


def _compute(step: Compute) -> Written:
    return f"compute {step.name}", ((0, line) for line in step.body.split("\n"))


def _decide(step: Decide) -> Written:
    def branch(part: Branch) -> Lines:
        yield 0, "otherwise" if part.when is None else f"when {part.when}"
        if part.value is not None:
            yield from ((1, line) for line in part.value.split("\n"))
        yield from ((1 + depth, text) for depth, text in _steps(part.steps))

    return f"decide {step.name}", (line for part in step.branches for line in branch(part))


def _retry(step: Retry) -> Written:
    options = "".join(
        f", {name}: {write(getattr(step, name))}"
        for name, write in (("max", str), ("backoff", write_text), ("delay", _number))
        if name in step.model_fields_set
    )
    return f"retry {step.name}{options}", _step(step.step)


def _flow_call(verb: str) -> Callable[[Any], Written]:
    def write(step: RunFlow | GotoFlow) -> Written:
        name = "" if step.name == step.flow else f", name: {_word(step.name)}"
        return f"{verb} flow({step.flow}){name}", ()

    return write


def _wait_for(step: WaitFor) -> Written:
    def block() -> Lines:
        if step.event is not None:
            yield 0, f"event: {write_text(step.event)}"
        if step.callback:
            yield 0, "callback: true"
        if step.timeout is not None:
            yield 0, f"timeout: {_duration(step.timeout)}"
        if step.on_timeout is not None:
            is_name = _NAME.fullmatch(step.on_timeout)
            flow = f"flow({step.on_timeout})" if is_name else write_text(step.on_timeout)
            yield 0, f"on_timeout: {flow}"
        if step.channel is not None:
            yield 0, f"channel: {write_text(step.channel)}"
        yield from _block(0, "schema", _fields(step.fields))
        yield from _results(step)

    return f"wait for {step.name}", block()


def _launch(step: Launch) -> Written:
    machine = (0, f"machine: {write_text(step.machine)}")
    return f"launch {step.name}", [machine, *_inputs(step.inputs, quoted=("machine",))]


def _launch_many(step: LaunchMany) -> Written:
    def block() -> Lines:
        yield 0, f"machine: {write_text(step.machine)}"
        yield from _expression("items: ", step.items)
        if step.input_key != "item":
            yield 0, f"input_key: {write_text(step.input_key)}"
        if step.extra_input is not None:
            yield from _expression("extra_input: ", step.extra_input)
        if step.max_concurrency != LaunchMany.model_fields["max_concurrency"].default:
            yield 0, f"max_concurrency: {step.max_concurrency}"
        if step.collect:
            yield 0, "collect: true"

    return f"launch_many {step.name}", block()


def _gate(step: Gate) -> Written:
    def block() -> Lines:
        for name in ("title", "question", "context"):
            if text := getattr(step, name):
                yield 0, f"{name}: {write_template(text)}"
        if step.options:
            yield 0, f"options: {constant(step.options)}"
        if "gate_class" in step.model_fields_set:
            yield 0, f"class: {write_text(step.gate_class)}"
        if step.timeout is not None:
            yield 0, f"timeout: {_duration(step.timeout)}"

    return f"gate {step.name}", block()


def _memory(step: Remember | Recall) -> Written:
    return f"{step.kind} {step.name}", _inputs(step.options)


_STEP_WRITERS: Final[Mapping[type[Any], Callable[[Any], Written]]] = {
    AskModel: _ask_model,
    AskEffect: _ask_effect,
    AskMachine: _ask_machine,
    Action: _action,
    Compute: _compute,
    Decide: _decide,
    Retry: _retry,
    RunFlow: _flow_call("run"),
    GotoFlow: _flow_call("goto"),
    WaitFor: _wait_for,
    Launch: _launch,
    LaunchMany: _launch_many,
    Gate: _gate,
    Remember: _memory,
    Recall: _memory,
}


# -- tools, tests, doors ------------------------------------------------------------------------


def _tools(tools: Iterable[Tool]) -> Lines:
    for tool in tools:
        line = f"{tool.name} from {write_text(tool.source)}"
        if tool.trigger != "manual" and tool.trigger_value is not None:
            line += f", {tool.trigger}: {write_text(tool.trigger_value)}"
        elif "trigger" in tool.model_fields_set:
            line += f", trigger: {tool.trigger}"
        if tool.needs:
            line += f", needs: {', '.join(_word(name, _NEED) for name in tool.needs)}"
        yield 0, line


def _tests(tests: Iterable[Test]) -> Lines:
    for test in tests:
        yield 0, f"test {write_text(test.name)}"
        yield 1, f"given {_object(test.given)}"
        for step, values in test.assuming.items():
            yield 1, f"assuming {_word(step)} {_object(values)}"
        yield 1, f"expect {_object(test.expect)}"


def _surfaces(surfaces: Iterable[SurfaceSpec]) -> Lines:
    for surface in surfaces:
        yield 0, surface.kind
        if isinstance(surface, OtherSurface):
            yield from ((1 + depth, text) for depth, text in _constants(surface.options))
            continue
        for name, write in _SURFACE_VALUES.items():
            value = getattr(surface, name, None)
            if name in surface.model_fields_set and value is not None:
                yield 1, f"{name}: {write(value)}"


def _list_of_words(values: Sequence[str]) -> str:
    return ", ".join(value if value == "none" else _word(value, _SCOPE) for value in values)


def _grant(values: Sequence[str]) -> str:
    return ", ".join(_word(value, _SCOPE) for value in values) or "none"


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
    "subscribe": str,
    "every": _duration,
    "push": str,
    "idle_timeout": _duration,
    "max_message": str,
    "concurrency": str,
}
