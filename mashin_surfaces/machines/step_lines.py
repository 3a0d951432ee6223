"""Reads ``implements``: its steps, ``decide`` and ``retry`` with those inside, flows, state."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from .ask_lines import read_action, read_ask
from .definition import (
    Branch,
    Compute,
    Decide,
    Flow,
    GotoFlow,
    Implements,
    Recall,
    Remember,
    Retry,
    RunFlow,
    StateField,
    Step,
)
from .expressions import parse_body
from .line_parts import Constant, FieldLine, Word
from .lines import Line
from .problems import Path
from .reader import Reader
from .sections import duration, first_words
from .step_heads import FLOW_CALL, SETTINGS, read_head, text_of
from .waiting_lines import read_gate, read_launch, read_launch_many, read_memory, read_wait_for

STEPS: Final = (
    "ask", "action", "compute", "decide", "retry", "wait for", "launch", "launch_many", "gate",
    "remember", "recall", "run flow", "goto flow",
)  # fmt: skip
_STEP: Final = re.compile(
    r"(?:ask|action|compute|decide|retry|wait\s+for|launch_many|launch|gate|remember|recall)"
    r"\s+(?=[^\W\d])|(?:run|goto)\s+(?=flow\s*\()"
)
#: What may stand before the expression: a name, and settings.
_COMPUTE: Final = re.compile(
    r"[^\W\d]\w*"
    r"(?:\s*,\s*(?:after\s*:\s*[^\W\d]\w*(?:\s*,\s*[^\W\d]\w*(?!\w|\s*:))*"
    r"|(?:optional|retry_on_crash|estimate)\s*:\s*[\w.+-]+"
    r'|when\s*:\s*(?:"(?:[^"\\\n]|\\.)*"|[\w.]+)))*'
    r"(?![\w.(\[])\s*"
)
_PARTS: Final = ("on failure", "flows", "state")


def read_implements(reader: Reader, section: Line) -> Implements | None:
    path: Path = ("implements",)
    values: dict[str, Any] = {}
    steps: list[Line] = []
    for line in section.children:
        phrase = first_words(line, _PARTS)
        if phrase is None:
            steps.append(line)
            continue
        key = phrase.replace(" ", "_")
        reader.mark((*path, key), line.start)
        reader.no_rest(line, reader.rest(line, phrase))
        if key in values:
            reader.tell(f'A second "{phrase}" in one machine.', line.start)
        elif phrase == "on failure":
            values[key] = read_steps(reader, line.children, (*path, key), "on failure", line)
        elif phrase == "flows":
            values[key] = _read_flows(reader, line, (*path, key))
        else:
            values[key] = _read_state(reader, line, (*path, key))
    values["steps"] = read_steps(reader, steps, (*path, "steps"), "implements", section)
    return reader.build(Implements, path, values, section.start)


def read_steps(
    reader: Reader, lines: Iterable[Line], path: Path, where: str, block: Line
) -> tuple[Step, ...]:
    """The steps of a block, those that could be read."""
    lines = list(lines)
    if not lines and where != "implements":
        reader.tell(f'Found nothing below "{where}", expected steps.', block.start)
    steps: list[Step] = []
    for line in lines:
        step = _read_step(reader, line, (*path, len(steps)))
        if step is not None:
            steps.append(step)
    return tuple(steps)


def _read_step(reader: Reader, line: Line, path: Path) -> Step | None:
    match = _STEP.match(line.text)
    if match is None:
        if first_words(line, ("when", "otherwise", "else", "if", "else if")):
            reader.tell(
                f'Found "{line.text.split()[0]}" outside of a decide; write "decide NAME" above '
                "it, and it two spaces deeper.",
                line.start,
            )
        else:
            reader.unexpected(line, f"a step ({', '.join(STEPS)})", STEPS)
        return None
    reader.mark(path, line.start)
    verb = " ".join(match.group().split())
    return _READERS[verb](reader, line, match.end(), path)


# -- compute, decide, retry ---------------------------------------------------------------------


def _read_compute(reader: Reader, line: Line, at: int, path: Path) -> Step | None:
    match = _COMPUTE.match(line.text, at)
    if match is None or line.text.startswith(",", match.end()):
        takes = ", ".join(f'"{key}:"' for key in SETTINGS)
        reader.unexpected(
            line, f"{takes} or an expression", SETTINGS, match.end() + 1 if match else at
        )
        return None
    first = Line(line.text[: match.end()].rstrip(), line.start, line.end, line.indent)
    head = read_head(reader, first, at, path)
    if head is None:
        return None
    if match.end() >= len(line.text) and not line.children:
        reader.tell(
            f'Found nothing below "compute {head.name.text}", expected an expression like '
            "{total: input.a + input.b}.",
            line.start,
        )
        return None
    body = reader.expression(reader.capture(line, match.end()), (*path, "body"), parse_body)
    if body is None:
        return None
    return reader.build(Compute, path, {**head.values(), "body": body}, line.start)


def _read_decide(reader: Reader, line: Line, at: int, path: Path) -> Step | None:
    head = read_head(reader, line, at, path)
    if head is None:
        return None
    branches: list[Branch] = []
    closed = False
    for child in line.children:
        phrase = first_words(child, ("when", "if", "else if", "otherwise", "else"))
        if phrase is None:
            reader.unexpected(child, "when or otherwise", ("when", "otherwise", "else if"))
            continue
        if closed:
            reader.tell(
                f'Found "{phrase}" behind the last branch; "otherwise" comes last.', child.start
            )
            continue
        closed = phrase in {"otherwise", "else"}
        branch = _read_branch(reader, child, phrase, (*path, "branches", len(branches)))
        if branch is not None:
            branches.append(branch)
    if not line.children:
        reader.tell(
            f'Found nothing below "decide {head.name.text}", expected "when …" lines.', line.start
        )
    return reader.build(Decide, path, {**head.values(), "branches": tuple(branches)}, line.start)


def _read_branch(reader: Reader, line: Line, phrase: str, path: Path) -> Branch | None:
    at = reader.rest(line, phrase)
    reader.mark(path, line.start)
    values: dict[str, Any] = {}
    if phrase not in {"otherwise", "else"}:
        condition = Line(line.text, line.start, line.end, line.indent)
        if at >= len(line.text):
            reader.tell(f'Found nothing behind "{phrase}", expected a condition.', line.start)
        else:
            values["when"] = reader.expression(reader.capture(condition, at), (*path, "when"))
    else:
        reader.no_rest(line, at)
    if not line.children:
        reader.tell(
            f'Found nothing below "{phrase}", expected steps or one expression.', line.start
        )
        return None
    if _STEP.match(line.children[0].text):
        steps = read_steps(reader, line.children, (*path, "steps"), phrase, line)
        values["steps"] = steps
    else:
        value = reader.expression(reader.capture(line, len(line.text)), (*path, "value"))
        values["value"] = value
    return reader.build(Branch, path, values, line.start)


def _read_retry(reader: Reader, line: Line, at: int, path: Path) -> Step | None:
    head = read_head(reader, line, at, path, ("max", "backoff", "delay"))
    if head is None:
        return None
    values = head.values()
    for key, option in head.options.items():
        value = option.value
        if key == "backoff":
            values[key] = text_of(reader, line, at, option)
        elif key == "delay" and isinstance(value, Constant) and value.quoted:
            seconds = duration(reader, line, at, value)
            values[key] = None if seconds is None else seconds * 1000
        else:
            values[key] = value.text if isinstance(value, Word) else value.value
    steps = read_steps(reader, line.children, (*path, "step"), f"retry {head.name.text}", line)
    if len(line.children) > 1:
        reader.tell("A retry has one step; put several into a flow.", line.children[1].start)
    if not steps:
        return None
    return reader.build(Retry, path, {**values, "step": steps[0]}, line.start)


# -- flows, state -------------------------------------------------------------------------------


def _read_flow_call(kind: type[RunFlow] | type[GotoFlow]) -> Callable[..., Step | None]:
    def read(reader: Reader, line: Line, at: int, path: Path) -> Step | None:
        match = FLOW_CALL.match(line.text, at)
        if match is None:
            reader.unexpected(line, '"flow(NAME)"', at=at)
            return None
        reader.no_block(line)
        values: dict[str, Any] = {"name": match[1], "flow": match[1]}
        if match.end() < len(line.text):
            # `run flow(x), name: y, after: z` is read like any other first line.
            rest = Line(
                match[1] + " " * (match.end() - len(match[1])) + line.text[match.end() :],
                line.start, line.end, line.indent,
            )  # fmt: skip
            head = read_head(reader, rest, 0, path, ("name",))
            if head is None:
                return None
            values |= head.values()
            if "name" in head.options:
                values["name"] = text_of(reader, line, 0, head.options["name"])
        return reader.build(kind, path, values, line.start)

    return read


def _read_flows(reader: Reader, block: Line, path: Path) -> tuple[Flow, ...]:
    flows: list[Flow] = []
    for line in block.children:
        if first_words(line, ("flow",)) is None:
            reader.unexpected(line, '"flow NAME"', ("flow",))
            continue
        place: Path = (*path, len(flows))
        head = read_head(reader, line, reader.rest(line, "flow"), place)
        if head is None:
            continue
        for key in head.settings:
            reader.tell(f'A flow has no "{key}"; its steps have.', line.start)
        failure = [child for child in line.children if first_words(child, ("on failure",))]
        steps = [child for child in line.children if child not in failure]
        values: dict[str, Any] = {
            "name": head.name.text,
            "steps": read_steps(reader, steps, (*place, "steps"), f"flow {head.name.text}", line),
        }
        for child in failure[:1]:
            values["on_failure"] = read_steps(
                reader, child.children, (*place, "on_failure"), "on failure", child
            )
        for child in failure[1:]:
            reader.tell('A second "on failure" in one flow.', child.start)
        flow = reader.build(Flow, place, values, line.start)
        if flow is not None:
            flows.append(flow)
    return tuple(flows)


def _read_state(reader: Reader, block: Line, path: Path) -> tuple[StateField, ...]:
    fields: list[StateField] = []
    for line in block.children:
        parts: FieldLine | None = reader.read("state", line)
        reader.no_block(line)
        if parts is None:
            continue
        values: dict[str, Any] = {"name": parts.name.text, "type": parts.type}
        values |= {modifier.key: modifier.value for modifier in parts.modifiers}
        field = reader.build(StateField, (*path, len(fields)), values, line.start)
        if field is not None:
            fields.append(field)
    return tuple(fields)


_READERS: Final[Mapping[str, Callable[[Reader, Line, int, Path], Step | None]]] = {
    "ask": read_ask,
    "action": read_action,
    "compute": _read_compute,
    "decide": _read_decide,
    "retry": _read_retry,
    "wait for": read_wait_for,
    "launch": read_launch,
    "launch_many": read_launch_many,
    "gate": read_gate,
    "remember": read_memory(Remember),
    "recall": read_memory(Recall),
    "run": _read_flow_call(RunFlow),
    "goto": _read_flow_call(GotoFlow),
}
