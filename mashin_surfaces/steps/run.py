"""One execution of a machine's steps: what it sees, what it asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..exceptions import Code, Refusal
from .evaluation import EvaluationError, Scope

#: Says whether the machine may ask an effect: ``permit(effect_name) -> bool``.
Permit = Callable[[str], bool]


class Run:
    """The state of one execution.

    ``scope`` is what expressions see; ``asked`` is for the ledger: each effect that a step asked
    for, ``{"step", "effect", "decision": "allowed"|"denied"}``, in order and each once.
    ``assumed``: in a test, what each step is taken to give instead of asking; None outside tests.
    ``left_out``: the steps that gave nothing, and why (``conditions.py``).
    """

    __slots__ = ("asked", "assumed", "left_out", "permit", "scope")

    def __init__(
        self,
        checked_input: dict[str, Any],
        permit: Permit,
        assumed: Mapping[str, Any] | None = None,
    ) -> None:
        self.scope = Scope(input=checked_input)
        self.permit = permit
        self.assumed = assumed
        self.asked: list[dict[str, Any]] = []
        self.left_out: dict[str, str] = {}

    def ask(self, step: str, effect: str, **facts: Any) -> None:
        """Note that ``step`` asks ``effect``; raises ``Refusal`` when the machine may not."""
        allowed = self.permit(effect)
        decision = "allowed" if allowed else "denied"
        fact = {"step": step, "effect": effect, "decision": decision, **facts}
        if fact not in self.asked:  # again: for the next result of an effect that yields
            self.asked.append(fact)
        if not allowed:
            raise Refusal(
                Code.PERMISSION_DENIED,
                f'The step "{step}" asked for "{effect}", which the machine is not allowed to do.',
            )

    def assume(self, step: str, otherwise: Any) -> Any:
        """In a test: what ``step`` gives by the test's ``assuming``, else by the step's own."""
        assumed = (self.assumed or {}).get(step, otherwise)
        if assumed is None:
            raise Refusal(
                Code.EXECUTION_FAILED,
                f'The step "{step}" has no `assuming` values, in the test or in the step.',
            )
        return assumed

    def evaluate(self, step: str, expression: Callable[[Scope], Any]) -> Any:
        """The value of a compiled expression; raises ``Refusal`` naming the step."""
        try:
            return expression(self.scope)
        except EvaluationError as error:
            raise Refusal(Code.EXECUTION_FAILED, f'The step "{step}" failed: {error}') from error
