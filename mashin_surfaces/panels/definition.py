"""What a tool of a panel is: its handler, its arguments, when it fires by itself, what it may use.

Definitions come over HTTP or from a machine's ``tools`` section; they are data, and judged before
they are kept.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..exceptions import Code, Refusal
from ..machines.definition import Field as ArgumentField
from ..machines.definition import Tool as MachineTool
from ..machines.quantities import parse_duration
from ..machines.review_tools import MOST_TOOLS, SHORTEST_INTERVAL, cron_problem
from ..machines.schemas import Schema
from ..steps.tools import Tool, get_tool

ToolName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\s/]+$")]
Capability = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^\S+$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class Manual(_Part):
    """Fires when somebody triggers it."""

    type: Literal["manual"] = "manual"


class Interval(_Part):
    """Fires every ``ms`` milliseconds."""

    type: Literal["interval"]
    ms: int = Field(ge=SHORTEST_INTERVAL, le=366 * 86_400_000)


class Cron(_Part):
    """Fires by a cron expression of five fields, in UTC."""

    type: Literal["cron"]
    expression: str = Field(max_length=200)

    @model_validator(mode="after")
    def _is_cron(self) -> Cron:
        if problem := cron_problem(self.expression):
            raise ValueError(problem)
        return self


class OnEvent(_Part):
    """Fires on events of the same panel whose name matches a glob."""

    type: Literal["event"]
    pattern: str = Field(min_length=1, max_length=200)

    def matches(self, name: str) -> bool:
        return fnmatchcase(name, self.pattern)


class OnChange(_Part):
    """Fires when a top-level key, or what a JSON Pointer points to, changes."""

    type: Literal["state_change"]
    path: str = Field(min_length=1, max_length=200)

    def value(self, state: Any) -> Any:
        """What stands there; None when nothing does."""
        parts = self.path[1:].split("/") if self.path.startswith("/") else [self.path]
        for part in parts:
            key = part.replace("~1", "/").replace("~0", "~")
            if isinstance(state, dict):
                state = state.get(key)
            elif isinstance(state, list) and key.isdecimal() and int(key) < len(state):
                state = state[int(key)]
            else:
                return None
        return state


Trigger = Annotated[Manual | Interval | Cron | OnEvent | OnChange, Field(discriminator="type")]


class ToolDefinition(_Part):
    """One tool. ``args``: fields, as ``accepts`` has them; None: what the handler's signature or
    machine says."""

    name: ToolName
    description: str = Field(default="", max_length=2000)
    handler: str = Field(default="", max_length=100_000)
    machine: str = Field(default="", max_length=64)
    args: tuple[ArgumentField, ...] | None = None
    trigger: Trigger = Field(default_factory=Manual)
    capabilities: tuple[Capability, ...] | None = None

    @model_validator(mode="after")
    def _has_one_handler(self) -> ToolDefinition:
        if bool(self.handler) == bool(self.machine):
            raise ValueError('A tool has a "handler" (a registered Python tool) or a "machine".')
        return self


@dataclass(frozen=True)
class PanelTool:
    """A tool that can be run: its definition and, for Python tools, its function."""

    definition: ToolDefinition

    @property
    def name(self) -> str:
        return self.definition.name

    @cached_property
    def arguments(self) -> Schema | None:
        fields = self.definition.args
        return None if fields is None else Schema.of(fields)

    def function(self) -> Tool:
        """The registered function; raises ``Refusal`` when this process does not have it."""
        found = get_tool(self.definition.handler)
        if found is None:
            raise Refusal(
                Code.EXECUTION_FAILED,
                f'The tool "{self.name}" has the handler "{self.definition.handler}", and no such '
                "tool is registered here.",
            )
        return found

    def check(self, args: Any) -> dict[str, Any]:
        """The arguments as an object; raises ``Refusal`` (invalid_input)."""
        given = {} if args is None else args
        if not isinstance(given, dict):
            raise Refusal(Code.INVALID_INPUT, "The arguments of a tool are an object.")
        if self.arguments is not None:
            given = self.arguments.check(given)
        if not self.definition.machine:
            try:
                self.function().arguments.validate_python(given)
            except ValidationError as error:
                details = [
                    {
                        "path": "/" + "/".join(map(str, item["loc"])),
                        "code": item["type"],
                        "message": item["msg"],
                    }
                    for item in error.errors(include_url=False, include_input=False)
                ]
                raise Refusal(
                    Code.INVALID_INPUT, "The arguments do not fit this tool.", details=details
                ) from None
        return given


_JAVASCRIPT = re.compile(r"[\s(){};=$]")


def judged(tools: Sequence[Any], capabilities: Sequence[str] | None) -> list[ToolDefinition]:
    """Definitions from JSON; raises ``Refusal`` (invalid_input) with all that is wrong."""
    details: list[dict[str, Any]] = []
    found: list[ToolDefinition] = []
    if len(tools) > MOST_TOOLS:
        raise Refusal(Code.INVALID_INPUT, f"A panel has at most {MOST_TOOLS} tools.")
    for index, given in enumerate(tools):
        try:
            made = ToolDefinition.model_validate(given)
            if made.args is not None:
                Schema.of(made.args)
        except ValidationError as error:
            details += [
                {
                    "path": "/".join(["/tools", str(index), *map(str, item["loc"])]),
                    "code": item["type"],
                    "message": item["msg"].removeprefix("Value error, "),
                }
                for item in error.errors(include_url=False, include_input=False)
            ]
            continue
        problem = _problem(made, [each.name for each in found], capabilities)
        if problem:
            details.append({"path": f"/tools/{index}", "code": "tool", "message": problem})
        found.append(made)
    if details:
        raise Refusal(Code.INVALID_INPUT, "The tools are not right.", details=details)
    return found


def _problem(
    tool: ToolDefinition, names: Sequence[str], capabilities: Sequence[str] | None
) -> str | None:
    if tool.name in names:
        return f'A second tool is called "{tool.name}".'
    if tool.handler and get_tool(tool.handler) is None:
        if _JAVASCRIPT.search(tool.handler):
            return "not supported yet: JavaScript handlers. Register a Python tool and name it."
        return f'There is no registered tool "{tool.handler}".'
    if capabilities is not None:
        for wanted in tool.capabilities or ():
            if not any(fnmatchcase(wanted, held) for held in capabilities):
                return f'The panel does not have the capability "{wanted}".'
    return None


def of_machine(tools: Sequence[MachineTool]) -> list[dict[str, Any]]:
    """A machine's ``tools`` section as definitions in JSON."""
    return [_of_machine(tool) for tool in tools]


def _of_machine(tool: MachineTool) -> dict[str, Any]:
    made: dict[str, Any] = {"name": tool.name, "trigger": _trigger_of(tool)}
    made["handler" if get_tool(tool.source) is not None else "machine"] = tool.source
    if tool.needs:
        made["capabilities"] = list(tool.needs)
    return made


def _trigger_of(tool: MachineTool) -> dict[str, Any]:
    value = tool.trigger_value or ""
    match tool.trigger:
        case "every":
            return {"type": "interval", "ms": round(1000 * parse_duration(value))}
        case "cron":
            return {"type": "cron", "expression": value}
        case "on":
            return {"type": "event", "pattern": value}
        case "changes":
            return {"type": "state_change", "path": value}
        case _:
            return {"type": "manual"}
