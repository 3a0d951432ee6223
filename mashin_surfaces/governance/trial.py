"""A machine's own tests: ``verifies`` and the examples of ``achieves``.

Input is validated, permissions are checked and the output is validated as in a real access; what
steps would ask is taken from ``assuming``. Nothing is executed outside, nothing is recorded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from ..exceptions import Refusal
from ..machines.definition import MachineDefinition, Test
from ..machines.registry import CompiledMachine
from ..machines.schemas import dumps
from ..steps.run import Run
from .door import GovernedMachine


@dataclass(frozen=True, slots=True)
class TestResult:
    """``message`` says what went wrong, "" when the test passed. ``duration`` in seconds."""

    __test__ = False

    machine: str
    test: str
    message: str
    duration: float

    @property
    def passed(self) -> bool:
        return not self.message


def tests_of(definition: MachineDefinition) -> Iterator[Test]:
    """Every test of a machine."""
    yield from definition.verifies
    for number, example in enumerate(definition.achieves.examples, 1):
        yield Test(name=f"example {number}", given=example.given, expect=example.expect)


async def run_tests(compiled: CompiledMachine) -> list[TestResult]:
    """Run all tests of a machine, in the order of its source."""
    machine = GovernedMachine(compiled)
    results = []
    for test in tests_of(compiled.definition):
        started = perf_counter()
        message = await _try(machine, test)
        results.append(TestResult(compiled.name, test.name, message, perf_counter() - started))
    return results


async def _try(machine: GovernedMachine, test: Test) -> str:
    """What is wrong, "" when nothing is."""
    try:
        checked = machine.compiled.accepts.check(dict(test.given))
        run = Run(checked, machine.permissions.allows, dict(test.assuming))
        output = machine.compiled.responds.check_output(await machine.program.run(run))
    except Refusal as refusal:
        details = "".join(
            f"\n  {item['path'] or '/'}: {item['message']}" for item in refusal.details or ()
        )
        return f"{refusal.code}: {refusal.message}{details}"
    return "\n".join(_differences(test.expect, output))


def _differences(expected: Any, got: Any, path: str = "") -> Iterator[str]:
    """How ``got`` is not what was expected; an object may have more keys than expected."""
    if isinstance(expected, Mapping) and isinstance(got, Mapping):
        for key, value in expected.items():
            if key not in got:
                yield f"{path}/{key}: expected {_json(value)}, but it is not there"
            else:
                yield from _differences(value, got[key], f"{path}/{key}")
    elif isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        for index, (one, other) in enumerate(zip(expected, got, strict=True)):
            yield from _differences(one, other, f"{path}/{index}")
    elif expected != got or isinstance(expected, bool) != isinstance(got, bool):
        yield f"{path or '/'}: expected {_json(expected)}, got {_json(got)}"


def _json(value: Any) -> str:
    return dumps(value).decode()
