"""Reviews the steps of a definition: names once, expressions about what is there, effects known."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Final

from .definition import (
    Action,
    AskEffect,
    AskModel,
    Branch,
    Compute,
    Decide,
    Gate,
    Launch,
    LaunchMany,
    MachineDefinition,
    Recall,
    Remember,
    Retry,
    Step,
    WaitFor,
)
from .expressions import (
    ExpressionError,
    Node,
    parse_body,
    parse_expression,
    parse_template,
    references,
)
from .places import nested_steps, steps_within
from .problems import Path, Problem
from .run_graph import Needs, ancestors, in_order, is_run, needs_of
from .wording import similar

_ROOTS: Final = ("input", "steps", "state", "error")
_SHOWN: Final = 12
#: What a gate gives.
_DECIDED: Final = ("decision", "option", "feedback", "by", "revision")


@dataclass(slots=True)
class _Known:
    """What an expression may speak of where it stands."""

    inputs: Collection[str] | None  # None: not known
    all_steps: Collection[str]
    all_read: bool
    in_failure: bool = False
    #: Step name → the fields it gives, None when nobody knows.
    steps: dict[str, Collection[str] | None] = field(default_factory=dict)
    #: In a graph: what each step needs, the step of the list that each stands in, and the one
    #: that is looked at.
    needs: Needs | None = None
    hosts: dict[str, str] = field(default_factory=dict)
    host: str = ""

    def is_done(self, name: str) -> bool:
        """Whether a step that may have run here surely has."""
        if self.needs is None:
            return True
        host = self.hosts.get(name, name)
        return host in (self.host, *self.needs[self.host]) or host in ancestors(
            self.needs, self.host
        )


def review_steps(
    definition: MachineDefinition,
    effects: Collection[str] | None,
    generators: Collection[str],
    unread: Collection[str],
) -> Iterator[Problem]:
    implements = definition.implements
    inputs = None if "accepts" in unread else {item.name for item in definition.accepts}
    lists: list[tuple[tuple[Step, ...], Path, bool]] = [
        (implements.steps, ("implements", "steps"), False),
        (implements.on_failure, ("implements", "on_failure"), True),
    ]
    for index, flow in enumerate(implements.flows):
        path: Path = ("implements", "flows", index)
        lists += [
            (flow.steps, (*path, "steps"), False),
            (flow.on_failure, (*path, "on_failure"), True),
        ]
    names = {step.name for steps, path, _ in lists for step, _ in nested_steps(steps, path)}
    reviewer = _Reviewer(effects, generators, is_run(definition))
    known = _Known(inputs, names, "implements" not in unread)
    for steps, path, in_failure in lists:
        known.in_failure = in_failure
        if steps is implements.steps and any(step.after is not None for step in steps):
            yield from reviewer.graph(definition, known)
        else:
            yield from reviewer.steps(steps, path, known)


class _Reviewer:
    def __init__(
        self, effects: Collection[str] | None, generators: Collection[str], is_run: bool
    ) -> None:
        self.effects = effects
        self.generators = generators
        self.is_run = is_run
        self.seen: set[str] = set()

    def graph(self, definition: MachineDefinition, known: _Known) -> Iterator[Problem]:
        """The steps of the list, each after what it needs."""
        path: Path = ("implements", "steps")
        steps, needs = definition.implements.steps, needs_of(definition)
        order = in_order(needs)
        if len(order) < len(steps) or not known.all_read:
            # A circle, a name twice, a line that can't be read: told elsewhere, and no order.
            known.steps |= dict.fromkeys(known.all_steps)
            yield from self.steps(steps, path, known)
            return
        places = {step.name: index for index, step in enumerate(steps)}
        known.needs = needs
        for name in order:
            step, here = steps[places[name]], (*path, places[name])
            known.host = name
            known.hosts |= {inner.name: name for inner, _ in steps_within(step, here)}
            yield from self.step(step, here, known)
        known.needs = None

    def steps(self, steps: tuple[Step, ...], path: Path, known: _Known) -> Iterator[Problem]:
        for index, step in enumerate(steps):
            yield from self.step(step, (*path, index), known)

    def step(self, step: Step, path: Path, known: _Known) -> Iterator[Problem]:
        if step.name in self.seen:
            yield Problem(
                f'A second step "{step.name}"; every step of a machine has a name of its own.',
                (*path, "name"),
            )
        self.seen.add(step.name)
        for text, place, parse in _expressions(step):
            yield from _expression(text, (*path, *place), parse, known)
        if isinstance(step, AskEffect):
            yield from self._effect(step, path)
        if isinstance(step, Decide):
            yield from self._branches(step, path, known)
        if isinstance(step, Retry):
            yield from self.step(step.step, (*path, "step"), known)
        known.steps[step.name] = _outputs(step)

    def _branches(self, step: Decide, path: Path, known: _Known) -> Iterator[Problem]:
        if not step.branches and known.all_read:
            yield Problem(f'The decide "{step.name}" has no branches.', path)
        for index, branch in enumerate(step.branches):
            here: Path = (*path, "branches", index)
            if bool(branch.steps) == (branch.value is not None):
                yield Problem("A branch has steps or one expression.", here)
            if branch.when is None and index < len(step.branches) - 1:
                yield Problem('"otherwise" is the last branch; the ones below never come.', here)
            for text, place in _branch_expressions(branch):
                yield from _expression(text, (*here, place), parse_expression, known)
            yield from self.steps(branch.steps, (*here, "steps"), known)

    def _effect(self, step: AskEffect, path: Path) -> Iterator[Problem]:
        source = step.source
        if source.startswith("@"):  # said by ``support``
            return
        if self.effects is not None and source not in self.effects:
            names = sorted(self.effects)
            shown = ", ".join(names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")
            known = f"known are {shown}" if names else "none are"
            yield Problem(
                f'no effect "{source}" is registered; {known}.{similar(source, names)}',
                (*path, "source"),
            )
        if source in self.generators:
            yield from self._generator(step, path)

    def _generator(self, step: AskEffect, path: Path) -> Iterator[Problem]:
        """What yields gives several results: that is something only for the list itself."""
        told = ""
        if {"branches", "step"} & set(path):
            inside = "decide" if "branches" in path else "retry"
            told = f"inside a {inside}; ask it in a step before, and go on with each result."
        elif self.is_run:
            told = "in a machine that waits for people or events or launches others."
        elif step.optional:
            told = "in an optional step: what it gave can't be taken back."
        if told:
            yield Problem(
                f'"{step.source}" yields its results, so it can\'t be asked {told}',
                (*path, "source"),
            )


Parse = Callable[[str], Node]


def _expressions(step: Step) -> Iterator[tuple[str, Path, Parse]]:
    """The expressions and templates of a step itself, with their places in it."""
    if step.when is not None:
        yield step.when, ("when",), parse_expression
    match step:
        case AskModel():
            for name in ("role", "task"):
                if text := getattr(step, name):
                    yield text, (name,), parse_template
        case AskEffect() | Action() | Launch():
            for name, text in step.inputs.items():
                yield text, ("inputs", name), parse_expression
        case Remember() | Recall():
            for name, text in step.options.items():
                yield text, ("options", name), parse_expression
        case Compute():
            yield step.body, ("body",), parse_body
        case LaunchMany():
            yield step.items, ("items",), parse_expression
            if step.extra_input is not None:
                yield step.extra_input, ("extra_input",), parse_expression
        case Gate():
            for name in ("title", "question", "context"):
                if text := getattr(step, name):
                    yield text, (name,), parse_template


def _branch_expressions(branch: Branch) -> Iterator[tuple[str, str]]:
    if branch.when is not None:
        yield branch.when, "when"
    if branch.value is not None:
        yield branch.value, "value"


def _outputs(step: Step) -> Collection[str] | None:
    """The fields of a step's output, when they are known."""
    if isinstance(step, AskModel | AskEffect | Action) and step.returns:
        return [item.name for item in step.returns]
    if isinstance(step, WaitFor) and step.fields:
        return [item.name for item in step.fields]
    if isinstance(step, Gate):
        return _DECIDED
    if isinstance(step, Launch):
        return ("run_id",)
    if isinstance(step, LaunchMany):
        return ("results",) if step.collect else ("run_ids",)
    if isinstance(step, Retry):
        return _outputs(step.step)
    return None


def _expression(text: str, path: Path, parse: Parse, known: _Known) -> Iterator[Problem]:
    if not text:
        yield Problem("Found nothing, expected an expression.", path)
        return
    try:
        node = parse(text)
    except ExpressionError as error:
        yield Problem(error.message, path)
        return
    for names in sorted(references(node)):
        message = _reference(names, known)
        if message:
            yield Problem(message, path)


def _reference(names: tuple[str, ...], known: _Known) -> str:
    root, *rest = names
    match root:
        case "input":
            if rest and known.inputs is not None and rest[0] not in known.inputs:
                return f'accepts has no field "{rest[0]}".{similar(rest[0], known.inputs)}'
        case "steps":
            return _step_reference(rest, known)
        case "error":
            if not known.in_failure:
                return '"error" is there only in on failure.'
        case "state":
            pass
        case _:
            if root in known.all_steps:  # an older spelling: the step without "steps."
                return _step_reference([root, *rest], known)
            if known.inputs and root in known.inputs:
                return f'Found the name "{root}"; a field of accepts is at input.{root}.'
            return (
                f'Found the name "{root}", which means nothing here; expressions speak of '
                f"input, steps and the names of let lines.{similar(root, _ROOTS)}"
            )
    return ""


def _step_reference(rest: list[str], known: _Known) -> str:
    if not rest:
        return ""
    name = rest[0]
    if name not in known.steps:
        if name in known.all_steps:
            return f'The step "{name}" has not run yet here; only steps before this one have.'
        if not known.all_read:
            return ""
        return f'There is no step "{name}".{similar(name, known.steps)}'
    if not known.is_done(name):
        return (
            f'The step "{name}" may not have run yet here: "{known.host}" is not after it. '
            f'Name it behind "after:".'
        )
    outputs = known.steps[name]
    if len(rest) > 1 and outputs is not None and rest[1] not in outputs:
        return f'The step "{name}" returns no "{rest[1]}".{similar(rest[1], outputs)}'
    return ""
