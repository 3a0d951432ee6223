"""Reads ``implements``: steps with their blocks, flows, state, ``on failure``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from .definition import (
    Action,
    AskEffect,
    AskMachine,
    AskModel,
    Branch,
    Compute,
    Decide,
    Flow,
    Gate,
    GotoFlow,
    Implements,
    Launch,
    LaunchMany,
    Recall,
    Remember,
    Retry,
    RunFlow,
    StateField,
    Step,
    WaitFor,
)
from .expressions import parse_body
from .grammar import Constant, FieldLine, Header, Option, Quoted, Word, similar
from .lines import Line
from .problems import Path
from .reader import Reader
from .sections import as_text, duration, first_words

STEPS: Final = (
    "ask", "action", "compute", "decide", "retry", "wait for", "launch", "launch_many", "gate",
    "remember", "recall", "run flow", "goto flow",
)  # fmt: skip
_STEP: Final = re.compile(
    r"(?:ask|action|compute|decide|retry|wait\s+for|launch_many|launch|gate|remember|recall)"
    r"\s+(?=[^\W\d])|(?:run|goto)\s+(?=flow\s*\()"
)
_COMPUTE: Final = re.compile(
    r"([^\W\d]\w*)(?:\s*,\s*(after)\s*:\s*([^\W\d]\w*(?:\s*,\s*[^\W\d]\w*)*))?(?![\w.(\[])\s*"
)
_BARE: Final = re.compile(r"[^\W\d]\w*")
_FLOW_CALL: Final = re.compile(r"flow\s*\(\s*:?\s*([^\W\d]\w*)\s*\)\s*")
_PARTS: Final = ("on failure", "flows", "state")
_WITH: Final = ("role", "task", "tools", "temperature", "max_tokens")


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


# -- the first line -----------------------------------------------------------------------------


class _Head:
    """A step's name, its ``after``, and the options that its kind takes."""

    def __init__(self, name: Word, after: tuple[str, ...] | None) -> None:
        self.name = name
        self.after = after
        self.options: dict[str, Option] = {}
        self.words: list[Word] = []

    def values(self) -> dict[str, Any]:
        values: dict[str, Any] = {"name": self.name.text}
        if self.after is not None:
            values["after"] = self.after
        return values


def _head(
    reader: Reader, line: Line, at: int, path: Path, known: tuple[str, ...] = (), words: int = 0
) -> _Head | None:
    header: Header | None = reader.read("header", line, at)
    if header is None:
        return None
    verb = " ".join(line.text[:at].split())
    head = _Head(header.name, None)
    reader.mark((*path, "name"), line.start + at + header.name.at)
    after: list[str] | None = None
    for part in header.parts:
        if isinstance(part, Quoted):
            text = reader.text_of(part, line, at)
            if text is None or len(head.words) >= words:
                reader.unexpected(line, '"key: value" or the end of the line', at=at + part.at)
                return None
            head.words.append(Word(text, part.at))
            continue
        if isinstance(part, Word):
            if after is not None:
                after.append(part.text)
                continue
            head.words.append(part)
            if len(head.words) > words:
                takes = ", ".join(f'"{key}:"' for key in (*known, "after"))
                reader.tell(
                    f'Found "{part.text}", expected the end of the line or {takes}.'
                    f"{similar(part.text, known)}",
                    line.start + at + part.at,
                )
                return None
        elif part.key.text == "after":
            # A step may be called "true".
            name = _BARE.match(line.text, at + part.value.at)
            if name is None:
                reader.unexpected(line, "names of steps, or none", at=at + part.value.at)
                return None
            after = [name.group()]
            reader.mark((*path, "after"), line.start + at + part.key.at)
        elif part.key.text in head.options or part.key.text not in known:
            takes = ", ".join((*known, "after"))
            reader.tell(
                f'{verb} has no option "{part.key.text}"; it takes {takes}.'
                f"{similar(part.key.text, known)}"
                if part.key.text not in known
                else f'A second "{part.key.text}".',
                line.start + at + part.key.at,
            )
            return None
        else:
            after_done = after
            head.options[part.key.text] = part
            reader.mark((*path, part.key.text), line.start + at + part.value.at)
            after = after_done
    if after is not None:
        head.after = () if after == ["none"] else tuple(after)
    return head


def _text(reader: Reader, line: Line, at: int, option: Option | None) -> str | None:
    return None if option is None else as_text(reader, line, at, option.value)


# -- ask, action --------------------------------------------------------------------------------


def _read_ask(reader: Reader, line: Line, at: int, path: Path) -> Step | None:
    head = _head(reader, line, at, path, ("using", "from", "of", "to"))
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
        source = _text(reader, line, at, option)
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
        values["mode"] = _text(reader, line, at, head.options["to"])
    if kind == "using":
        _read_block(reader, line.children, path, values, withs=True)
        return reader.build(AskModel, path, values, line.start)
    if kind == "of":
        _read_block(reader, line.children, path, values, returns=False)
        return reader.build(AskMachine, path, values, line.start)
    values["inputs"] = {}
    _read_block(reader, line.children, path, values)
    return reader.build(AskEffect, path, values, line.start)


def _read_action(reader: Reader, line: Line, at: int, path: Path) -> Step | None:
    head = _head(reader, line, at, path, ("machine",), words=1)
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


# -- compute, decide, retry ---------------------------------------------------------------------


def _read_compute(reader: Reader, line: Line, at: int, path: Path) -> Step | None:
    match = _COMPUTE.match(line.text, at)
    if match is None or line.text.startswith(",", match.end()):
        reader.unexpected(line, '"after:" or an expression', at=match.end() + 1 if match else at)
        return None
    values: dict[str, Any] = {"name": match[1]}
    reader.mark((*path, "name"), line.start + at)
    if match[2]:
        names = [name.strip() for name in match[3].split(",")]
        values["after"] = () if names == ["none"] else tuple(names)
        reader.mark((*path, "after"), line.start + match.start(2))
    if match.end() >= len(line.text) and not line.children:
        reader.tell(
            f'Found nothing below "compute {match[1]}", expected an expression like '
            "{total: input.a + input.b}.",
            line.start,
        )
        return None
    body = reader.expression(reader.capture(line, match.end()), (*path, "body"), parse_body)
    if body is None:
        return None
    return reader.build(Compute, path, {**values, "body": body}, line.start)


def _read_decide(reader: Reader, line: Line, at: int, path: Path) -> Step | None:
    head = _head(reader, line, at, path)
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
    head = _head(reader, line, at, path, ("max", "backoff", "delay"))
    if head is None:
        return None
    values = head.values()
    for key, option in head.options.items():
        value = option.value
        if key == "backoff":
            values[key] = _text(reader, line, at, option)
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
        match = _FLOW_CALL.match(line.text, at)
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
            head = _head(reader, rest, 0, path, ("name",))
            if head is None:
                return None
            values |= head.values()
            if "name" in head.options:
                values["name"] = _text(reader, line, 0, head.options["name"])
        return reader.build(kind, path, values, line.start)

    return read


def _read_flows(reader: Reader, block: Line, path: Path) -> tuple[Flow, ...]:
    flows: list[Flow] = []
    for line in block.children:
        if first_words(line, ("flow",)) is None:
            reader.unexpected(line, '"flow NAME"', ("flow",))
            continue
        place: Path = (*path, len(flows))
        head = _head(reader, line, reader.rest(line, "flow"), place)
        if head is None:
            continue
        if head.after is not None:
            reader.tell("A flow has no after; its steps have.", line.start)
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


# -- steps that wait, start or keep something ---------------------------------------------------


def _read_wait_for(reader: Reader, line: Line, at: int, path: Path) -> Step | None:
    head = _head(reader, line, at, path)
    if head is None:
        return None
    values = head.values()
    settings: list[Line] = []
    for child in line.children:
        phrase = first_words(child, ("schema", "assuming"))
        if phrase == "schema":
            reader.no_rest(child, reader.rest(child, phrase))
            values["fields"] = reader.fields(child.children, (*path, "fields"))
        elif phrase == "assuming":
            values[phrase] = reader.object(child, reader.rest(child, phrase), (*path, phrase))
        else:
            settings.append(child)
    known = ("event", "callback", "timeout", "on_timeout", "channel")
    for key, child in reader.keys(settings, "wait for", known):
        reader.mark((*path, key.name), child.start)
        if key.name == "on_timeout":
            match = _FLOW_CALL.fullmatch(child.text, key.at)
            if match:
                values[key.name] = match[1]
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


def _read_launch(reader: Reader, line: Line, at: int, path: Path) -> Step | None:
    head = _head(reader, line, at, path, ("from", "machine"))
    if head is None:
        return None
    values: dict[str, Any] = {**head.values(), "inputs": {}}
    for option in head.options.values():
        values["machine"] = _text(reader, line, at, option)
    for key, child in reader.keys(line.children, "This step"):
        if key.name == "machine" and not key.is_quoted:
            found = reader.values(child, key.at)
            values["machine"] = as_text(reader, child, key.at, found[0]) if found else None
            continue
        expression = reader.expression(reader.capture(child, key.at), (*path, "inputs", key.name))
        if expression is not None:
            values["inputs"][key.name] = expression
    return reader.build(Launch, path, values, line.start)


def _read_launch_many(reader: Reader, line: Line, at: int, path: Path) -> Step | None:
    head = _head(reader, line, at, path)
    if head is None:
        return None
    values = head.values()
    known = ("machine", "items", "input_key", "extra_input", "max_concurrency", "collect")
    for key, child in reader.keys(line.children, "launch_many", known):
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


def _read_gate(reader: Reader, line: Line, at: int, path: Path) -> Step | None:
    head = _head(reader, line, at, path)
    if head is None:
        return None
    values = head.values()
    known = ("title", "question", "context", "options", "class", "timeout")
    for key, child in reader.keys(line.children, "gate", known):
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


def _read_memory(kind: type[Remember] | type[Recall]) -> Callable[..., Step | None]:
    def read(reader: Reader, line: Line, at: int, path: Path) -> Step | None:
        head = _head(reader, line, at, path)
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


_READERS: Final[Mapping[str, Callable[[Reader, Line, int, Path], Step | None]]] = {
    "ask": _read_ask,
    "action": _read_action,
    "compute": _read_compute,
    "decide": _read_decide,
    "retry": _read_retry,
    "wait for": _read_wait_for,
    "launch": _read_launch,
    "launch_many": _read_launch_many,
    "gate": _read_gate,
    "remember": _read_memory(Remember),
    "recall": _read_memory(Recall),
    "run": _read_flow_call(RunFlow),
    "goto": _read_flow_call(GotoFlow),
}
