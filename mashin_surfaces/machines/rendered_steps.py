"""Steps as mashinTalk, in canonical form."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from .definition import (
    FLOW_NAMED,
    Action,
    AskEffect,
    AskMachine,
    AskModel,
    Branch,
    Compute,
    Decide,
    Gate,
    GateOption,
    GotoFlow,
    Implements,
    Launch,
    LaunchMany,
    Recall,
    Remember,
    Retry,
    RunFlow,
    Step,
    WaitFor,
)
from .literals import write_template, write_text
from .rendered_values import (
    CAPABILITY,
    NAME,
    Lines,
    block_of,
    constant,
    constant_lines,
    duration_text,
    expression_lines,
    field_lines,
    line_key,
    number_text,
    type_text,
    word_or_text,
)

#: Words that begin a block wherever they stand on a line.
_BLOCK_WORDS: Final = frozenset({"returns", "schema", "assuming", "with", "flows", "state"})


def rendered_implements(implements: Implements) -> Lines:
    yield from _steps(implements.steps)
    yield from block_of(0, "on failure", _steps(implements.on_failure))
    if implements.flows:
        yield 0, "flows"
        for flow in implements.flows:
            yield 1, f"flow {flow.name}"
            yield from ((2 + depth, text) for depth, text in _steps(flow.steps))
            for depth, text in block_of(0, "on failure", _steps(flow.on_failure)):
                yield 2 + depth, text
    if implements.state:
        yield 0, "state"
        for field in implements.state:
            default = "" if field.default is None else f", default: {constant(field.default)}"
            yield 1, f"{field.name} as {type_text(field.type)}{default}"


def _steps(steps: Iterable[Step]) -> Lines:
    for step in steps:
        yield from _step(step)


def _step(step: Step) -> Lines:
    head, block = _STEP_WRITERS[type(step)](step)
    yield 0, ", ".join([head, *_settings(step)])
    yield from ((1 + depth, text) for depth, text in block)


def _settings(step: Step) -> Iterator[str]:
    """What every step may say on its first line."""
    if step.after is not None:
        yield f"after: {', '.join(step.after) or 'none'}"
    if step.optional:
        yield "optional: true"
    if step.when is not None:
        yield f"when: {write_text(step.when)}"
    if step.estimate is not None:
        yield f"estimate: {number_text(step.estimate)}"
    if step.retry_on_crash is not None:
        yield f"retry_on_crash: {constant(step.retry_on_crash)}"


def _results(step: Any) -> Lines:
    """``returns`` and ``assuming``."""
    yield from block_of(0, "returns", field_lines(getattr(step, "returns", ())))
    yield from _assuming(step)


def _assuming(step: Any) -> Lines:
    if step.assuming is not None:
        if step.assuming:
            yield from block_of(0, "assuming", constant_lines(step.assuming))
        else:
            yield 0, "assuming {}"


def _inputs(inputs: Mapping[str, str], quoted: Iterable[str] = ()) -> Lines:
    for key, text in inputs.items():
        name = write_text(key) if key in quoted else line_key(key)
        yield from expression_lines(f"{name}: ", text)


Written = tuple[str, Iterable[tuple[int, str]]]


def _ask_model(step: AskModel) -> Written:
    def block() -> Lines:
        if step.role:
            yield 0, f"with role {write_template(step.role)}"
        if step.task:
            yield 0, f"with task {write_template(step.task)}"
        if step.tools:
            yield (
                0,
                f"with tools [{', '.join(word_or_text(name, CAPABILITY) for name in step.tools)}]",
            )
        if step.temperature is not None:
            yield 0, f"with temperature {number_text(step.temperature)}"
        if step.max_tokens is not None:
            yield 0, f"with max_tokens {step.max_tokens}"
        yield from _results(step)

    using = f", using: {write_text(step.model)}" if step.model else ""
    return f"ask {step.name}{using}", block()


def _ask_effect(step: AskEffect) -> Written:
    mode = "" if step.mode is None else f", to: {word_or_text(step.mode)}"
    head = f"ask {step.name}, from: {write_text(step.source)}{mode}"
    return head, [*_inputs(step.inputs), *_results(step)]


def _ask_machine(step: AskMachine) -> Written:
    return f"ask {step.name}, of: {write_text(step.machine)}", _results(step)


def _action(step: Action) -> Written:
    is_plain = NAME.fullmatch(step.type) and step.type not in _BLOCK_WORDS
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
        for name, write in (("max", str), ("backoff", write_text), ("delay", number_text))
        if name in step.model_fields_set
    )
    return f"retry {step.name}{options}", _step(step.step)


def _flow_call(verb: str) -> Callable[[Any], Written]:
    def write(step: RunFlow | GotoFlow) -> Written:
        name = "" if step.name == step.flow else f", name: {word_or_text(step.name)}"
        return f"{verb} flow({step.flow}){name}", ()

    return write


def _wait_for(step: WaitFor) -> Written:
    def block() -> Lines:
        if step.event is not None:
            yield 0, f"event: {write_text(step.event)}"
        if step.callback:
            yield 0, "callback: true"
        if step.timeout is not None:
            yield 0, f"timeout: {duration_text(step.timeout)}"
        if step.on_timeout is not None:
            is_flow = FLOW_NAMED.fullmatch(step.on_timeout)
            what = step.on_timeout if is_flow else write_text(step.on_timeout)
            yield 0, f"on_timeout: {what}"
        if step.channel is not None:
            yield 0, f"channel: {write_text(step.channel)}"
        yield from block_of(0, "schema", field_lines(step.fields))
        yield from _results(step)

    return f"wait for {step.name}", block()


def _launch(step: Launch) -> Written:
    machine = (0, f"machine: {write_text(step.machine)}")
    inputs = _inputs(step.inputs, quoted=("machine",))
    return f"launch {step.name}", [machine, *inputs, *_assuming(step)]


def _launch_many(step: LaunchMany) -> Written:
    def block() -> Lines:
        yield 0, f"machine: {write_text(step.machine)}"
        yield from expression_lines("items: ", step.items)
        if step.input_key != "item":
            yield 0, f"input_key: {write_text(step.input_key)}"
        if step.extra_input is not None:
            yield from expression_lines("extra_input: ", step.extra_input)
        if step.max_concurrency != LaunchMany.model_fields["max_concurrency"].default:
            yield 0, f"max_concurrency: {step.max_concurrency}"
        if step.collect:
            yield 0, "collect: true"
        yield from _assuming(step)

    return f"launch_many {step.name}", block()


def _gate(step: Gate) -> Written:
    def block() -> Lines:
        for name in ("title", "question", "context"):
            if text := getattr(step, name):
                yield 0, f"{name}: {write_template(text)}"
        if step.options:
            yield 0, f"options: {constant([_option(option) for option in step.options])}"
        if "gate_class" in step.model_fields_set:
            yield 0, f"class: {write_text(step.gate_class)}"
        if step.timeout is not None:
            yield 0, f"timeout: {duration_text(step.timeout)}"
        yield from _assuming(step)

    return f"gate {step.name}", block()


def _option(option: GateOption) -> str | dict[str, str]:
    if option == GateOption.model_validate(option.id):
        return option.id
    written = option.model_dump(exclude_none=True)
    if option.label == option.id:
        del written["label"]
    return written


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
