"""What a machine is, as data: one frozen pydantic model, whatever it was written in.

The JSON of ``MachineDefinition`` is what ``Machine.definition`` stores; mashinTalk
(``parser.py``, ``renderer.py``) is another way to write the same. This module checks shape;
what needs more than one place to judge (names, clashes, "not supported yet") is in ``review.py``.

Conventions: durations are seconds; an *expression* is its source text (``"input.a + 1"``); a
*template* is text with ``${expression}`` in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, model_validator
from pydantic import Field as Attribute

from .scanning import on_lines, on_one_line

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
Json = Any
Seconds = Annotated[float, Attribute(gt=0, le=366 * 86400)]
Dollars = Annotated[float, Attribute(ge=0, le=1e9)]
#: The source of an expression, without indentation and empty lines around it.
Expression = Annotated[str, AfterValidator(on_lines)]
Condition = Annotated[str, AfterValidator(on_one_line)]

OLDER_CAPABILITIES = {"llm_call": "reason", "http_request": "http"}
Capability = Annotated[str, AfterValidator(lambda name: OLDER_CAPABILITIES.get(name, name))]


class Part(BaseModel):
    """Every part of a definition: immutable; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def model_post_init(self, context: Any, /) -> None:
        if "kind" in type(self).model_fields:  # says which union member this is: always written
            self.__pydantic_fields_set__.add("kind")


# -- types and fields ---------------------------------------------------------------------------

TypeName = Literal[
    "text", "number", "integer", "decimal", "boolean", "uuid", "date", "datetime",
    "list", "map", "object", "enum", "any", "file",
]  # fmt: skip


class Type(Part):
    """``text``, ``list(T)`` (``item``), ``object{…}`` (``fields``), ``enum(…)`` (``choices``)."""

    name: TypeName
    item: Type | None = None
    fields: tuple[Field, ...] = ()
    choices: tuple[str, ...] = ()


class Field(Part):
    """A typed, named value of ``accepts``, ``responds with``, ``returns`` or an object type.

    ``default`` is a JSON value and counts only when ``"default" in field.model_fields_set``.
    """

    name: Name
    type: Type
    required: bool = False
    default: Json = None
    description: str = ""
    label: str = ""
    min: float | None = None
    max: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    format: Literal["email", "uri", "hostname", "ipv4", "ipv6", "slug"] | None = None
    choices: tuple[Json, ...] = ()
    secret: bool = False

    @property
    def has_default(self) -> bool:
        return "default" in self.model_fields_set


# -- achieves, ensures --------------------------------------------------------------------------


class Example(Part):
    given: dict[str, Json] = {}
    expect: dict[str, Json] = {}


class Achieves(Part):
    goals: tuple[str, ...] = ()
    succeeds_when: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()


class Permissions(Part):
    """Effect names, globs allowed (``mail.*``); ``reason`` is a model call."""

    allowed: tuple[Capability, ...] = ()
    denied: tuple[Capability, ...] = ()
    requires_approval: tuple[Capability, ...] = ()
    authority: dict[str, str] = {}


class Limits(Part):
    """``max_cost`` is a run's budget; ``warn_at`` is a share of it up to 1, US dollars above."""

    timeout: Seconds | None = None
    rate: str | None = None  # "20/s burst 40", per principal, over all surfaces
    concurrency: int | None = Attribute(default=None, ge=1)
    max_cost: Dollars | None = None
    max_tokens: int | None = Attribute(default=None, ge=0)
    warn_at: Dollars | None = None
    max_parallel: int | None = Attribute(default=None, ge=1, le=256)  # steps of a run at once


class Ensures(Part):
    permissions: Permissions = Permissions()
    limits: Limits = Limits()
    guards: dict[str, dict[str, Json]] = {}
    needs: dict[str, str] = {}


# -- steps --------------------------------------------------------------------------------------


class StepPart(Part):
    """What every step has.

    ``after``: None = after the step before it; ``()`` = ``after: none``; else these steps.
    ``when``: left out where it is not true. ``optional``: its failure ends nothing.
    ``estimate``: what it will cost, reserved of a run's budget before it starts.
    ``retry_on_crash``: whether it runs again when its process died; None = as its effect says.
    """

    name: Name
    after: tuple[str, ...] | None = None
    optional: bool = False
    when: Condition | None = None
    estimate: Dollars | None = None
    retry_on_crash: bool | None = None


class AskModel(StepPart):
    """``ask NAME, using: "provider:model"``; ``role`` and ``task`` are templates."""

    kind: Literal["ask_model"] = "ask_model"
    model: str = ""
    role: str = ""
    task: str = ""
    tools: tuple[str, ...] = ()
    temperature: float | None = Attribute(default=None, ge=0, le=2)
    max_tokens: int | None = Attribute(default=None, ge=1)
    returns: tuple[Field, ...] = ()
    assuming: dict[str, Json] | None = None


class AskEffect(StepPart):
    """``ask NAME, from: "effect or machine"``; ``inputs`` are expressions by input name."""

    kind: Literal["ask_effect"] = "ask_effect"
    source: str
    inputs: dict[str, Expression] = {}
    mode: str | None = None  # the original's ``to: simulate`` and friends
    returns: tuple[Field, ...] = ()
    assuming: dict[str, Json] | None = None


class AskMachine(StepPart):
    """``ask NAME, of: "machine"``: the last published value of a machine."""

    kind: Literal["ask_machine"] = "ask_machine"
    machine: str
    assuming: dict[str, Json] | None = None


class Action(StepPart):
    """``action NAME http|call``: an effect in the older form; ``inputs`` are expressions."""

    kind: Literal["action"] = "action"
    type: str
    inputs: dict[str, Expression] = {}
    returns: tuple[Field, ...] = ()
    assuming: dict[str, Json] | None = None


class Compute(StepPart):
    """``body`` is one expression, or ``let`` lines and a last expression."""

    kind: Literal["compute"] = "compute"
    body: Expression


class Branch(Part):
    """``when`` is an expression, None for ``otherwise``. Exactly one of ``steps`` and ``value``."""

    when: Condition | None = None
    steps: tuple[Step, ...] = ()
    value: Expression | None = None


class Decide(StepPart):
    kind: Literal["decide"] = "decide"
    branches: tuple[Branch, ...]


class Retry(StepPart):
    kind: Literal["retry"] = "retry"
    max: int = Attribute(default=3, ge=1, le=100)
    backoff: Literal["none", "linear", "exponential"] = "exponential"
    delay: float = 1000  # milliseconds, as in the original
    step: Step


class RunFlow(StepPart):
    kind: Literal["run_flow"] = "run_flow"
    flow: str


class GotoFlow(StepPart):
    kind: Literal["goto_flow"] = "goto_flow"
    flow: str


FLOW_NAMED: Final = re.compile(r"flow\(([A-Za-z_][A-Za-z0-9_]*)\)")


def _on_timeout(text: str) -> str:
    if text in {"fail", "continue"} or FLOW_NAMED.fullmatch(text):
        return text
    raise ValueError(f'"on_timeout" is "fail", "continue" or flow(NAME), this is "{text}".')


class WaitFor(StepPart):
    """``event``: what it is called outside. ``on_timeout``: ``fail``, ``continue``, ``flow(x)``."""

    kind: Literal["wait_for"] = "wait_for"
    event: str | None = None
    callback: bool = False
    timeout: Seconds | None = None
    on_timeout: Annotated[str, AfterValidator(_on_timeout)] | None = None
    channel: str | None = None
    fields: tuple[Field, ...] = ()
    assuming: dict[str, Json] | None = None


class Launch(StepPart):
    kind: Literal["launch"] = "launch"
    machine: str
    inputs: dict[str, Expression] = {}
    assuming: dict[str, Json] | None = None


class LaunchMany(StepPart):
    kind: Literal["launch_many"] = "launch_many"
    machine: str
    items: Expression
    input_key: str = "item"
    extra_input: Expression | None = None
    max_concurrency: int = Attribute(default=10, ge=1)
    collect: bool = False
    assuming: dict[str, Json] | None = None


Verdict = Literal["approve", "modify", "reject"]
#: What a gate without options of its own offers, and how it is called.
VERDICTS: Final[Mapping[Verdict, str]] = {
    "approve": "Approve",
    "modify": "Ask for changes",
    "reject": "Reject",
}


class GateOption(Part):
    """What can be chosen at a gate. ``branch_to``: the step that the run goes on with.

    A text alone is an option too: one that approves, if it is not called like another decision.
    """

    id: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    label: str
    decision: Verdict = "approve"
    branch_to: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        if isinstance(given, str):
            decision = given.lower() if given.lower() in VERDICTS else "approve"
            return {"id": given, "label": given, "decision": decision}
        if not isinstance(given, dict):
            raise ValueError('An option is a text, or {id: "…", label: "…", decision: "approve"}.')
        return {"label": given.get("id"), **given}


class Gate(StepPart):
    """``title``, ``question`` and ``context`` are templates."""

    kind: Literal["gate"] = "gate"
    title: str = ""
    question: str = ""
    context: str = ""
    options: tuple[GateOption, ...] = ()
    gate_class: Literal["irreversible", "quality", "calibration"] = "quality"
    timeout: Seconds | None = None
    assuming: dict[str, Json] | None = None

    @property
    def choices(self) -> tuple[GateOption, ...]:
        """The options, or one for each decision where there are none."""
        return self.options or tuple(
            GateOption(id=verdict, label=label, decision=verdict)
            for verdict, label in VERDICTS.items()
        )


class Remember(StepPart):
    kind: Literal["remember"] = "remember"
    options: dict[str, Expression] = {}


class Recall(StepPart):
    kind: Literal["recall"] = "recall"
    options: dict[str, Expression] = {}


Step = Annotated[
    AskModel | AskEffect | AskMachine | Action | Compute | Decide | Retry | RunFlow | GotoFlow
    | WaitFor | Launch | LaunchMany | Gate | Remember | Recall,
    Attribute(discriminator="kind"),
]  # fmt: skip


class StateField(Part):
    name: Name
    type: Type
    default: Json = None


class Flow(Part):
    name: Name
    steps: tuple[Step, ...] = ()
    on_failure: tuple[Step, ...] = ()


class Implements(Part):
    steps: tuple[Step, ...] = ()
    on_failure: tuple[Step, ...] = ()
    flows: tuple[Flow, ...] = ()
    state: tuple[StateField, ...] = ()


# -- tools, verifies ----------------------------------------------------------------------------


class Tool(Part):
    """``parallel``: in an incubator, calls of it run beside others. ``estimate`` (US dollars) and
    ``estimate_tokens``: what one call will use, reserved of the budget before it starts; None: all
    that is left."""

    name: Name
    source: str
    trigger: Literal["manual", "every", "cron", "on", "changes"] = "manual"
    trigger_value: str | None = None
    needs: tuple[str, ...] = ()
    parallel: bool = False
    estimate: Dollars | None = None
    estimate_tokens: int | None = Attribute(default=None, ge=0, le=10**9)


class Test(Part):
    __test__ = False  # not a pytest class

    name: str
    given: dict[str, Json] = {}
    assuming: dict[str, dict[str, Json]] = {}
    expect: dict[str, Json] = {}


# -- expresses ----------------------------------------------------------------------------------

AuthKind = Literal["session", "jwt", "api_key", "none"]
DEFAULT_AUTH: tuple[AuthKind, ...] = ("session", "jwt", "api_key")


class SurfacePart(Part):
    """What every door has. ``auth`` None = the default for its kind."""

    path: str = ""
    auth: tuple[AuthKind, ...] | None = None
    scopes: tuple[str, ...] = ()
    grant: tuple[str, ...] | None = None  # what an anonymous principal holds
    rate: str | None = None  # "20/s burst 40", per principal


class WebsocketSurface(SurfacePart):
    kind: Literal["websocket"] = "websocket"
    dialect: Literal["machine", "panel", "dag", "incubator"] = "machine"
    idle_timeout: Seconds = 300
    max_message: int = Attribute(default=256 * 1024, ge=1024, le=16 * 1024 * 1024)  # bytes
    subscribe: str | None = None
    every: Seconds | None = None
    push: Literal["changes", "all"] = "changes"
    concurrency: int = Attribute(default=8, ge=1, le=256)


class ApiSurface(SurfacePart):
    kind: Literal["api"] = "api"
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"


class PageSurface(SurfacePart):
    kind: Literal["page"] = "page"
    title: str = ""
    layout: str = ""


class OtherSurface(Part):
    """Doors that are read, and refused until they work."""

    kind: Literal["webhook", "a2a", "mcp", "publishes", "subscribes"]
    options: dict[str, Json] = {}


SurfaceSpec = Annotated[
    WebsocketSurface | ApiSurface | PageSurface | OtherSurface, Attribute(discriminator="kind")
]


class MachineDefinition(Part):
    name: Slug
    title: str = ""
    accepts: tuple[Field, ...] = ()
    responds: tuple[Field, ...] = ()
    achieves: Achieves = Achieves()
    ensures: Ensures = Ensures()
    implements: Implements = Implements()
    tools: tuple[Tool, ...] = ()
    verifies: tuple[Test, ...] = ()
    expresses: tuple[SurfaceSpec, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The plain JSON object that is stored; ``MachineDefinition.model_validate`` reads it."""
        return self.model_dump(mode="json", exclude_unset=True)


def walk(steps: tuple[Step, ...]) -> Iterator[Step]:
    """Every step of a step list, nested ones too, in the order of the source."""
    for step in steps:
        yield step
        if isinstance(step, Decide):
            for branch in step.branches:
                yield from walk(branch.steps)
        elif isinstance(step, Retry):
            yield from walk((step.step,))


for _model in (Type, Field, Branch, Decide, Retry, Flow, Implements, MachineDefinition):
    _model.model_rebuild()
