"""The tools of a namespace: those of the machine that owns it, as they are declared there."""

from __future__ import annotations

from dataclasses import dataclass

from ..machines.registry import registry
from ..panels.definition import PanelTool, judged, of_machine


@dataclass(frozen=True)
class BusTool(PanelTool):
    """A tool that can be run, and what the machine says of its calls (``machines.definition``)."""

    is_parallel: bool = False
    estimate: float | None = None
    estimate_tokens: int | None = None


def tools_of(machine: str) -> dict[str, BusTool]:
    """The tools of a machine by name; none when it is gone."""
    compiled = registry.snapshot.machines.get(machine)
    if compiled is None or not compiled.enabled:
        return {}
    declared = compiled.definition.tools
    definitions = judged(of_machine(declared), None)
    return {
        tool.name: BusTool(definition, tool.parallel, tool.estimate, tool.estimate_tokens)
        for tool, definition in zip(declared, definitions, strict=True)
    }


def is_parallel(machine: str, tool: str) -> bool:
    """Whether calls of this tool run beside others."""
    compiled = registry.snapshot.machines.get(machine)
    if compiled is None:
        return False
    return any(each.parallel for each in compiled.definition.tools if each.name == tool)
