"""A call of a tool, and what it is answered."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from ..exceptions import Code, Refusal
from .bus import Actor

#: The word for what a reset took away.
RESET = "reset"


@dataclass(frozen=True, slots=True)
class Answer:
    """``text``: the result as JSON. What it did stands in the log up to ``offset`` of ``epoch``;
    0 when it did nothing."""

    text: str
    is_failure: bool = False
    offset: int = 0
    epoch: str = ""


@dataclass(slots=True, eq=False)
class Call:
    """A tool to run. ``epoch``: the one in which it was asked for; in another it is not run."""

    tool: str
    args: dict[str, Any]
    actor: Actor
    call_id: str
    epoch: str
    answer: asyncio.Future[Answer] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    @property
    def principal(self) -> str:
        """Whose call it is: the same ``call_id`` of another is another call."""
        return self.actor.caller.principal.name

    def may_control(self, namespace: str) -> bool:
        """Whether it is also run on a bus that is stopped."""
        return self.actor.caller.principal.holds(f"bus:control:{namespace}")


def was_reset() -> Refusal:
    return Refusal(Code.CONFLICT, "The bus was reset.", subject=RESET)


def failure(refusal: Refusal) -> dict[str, str]:
    """The result of a tool that failed."""
    return {"error": refusal.message, "code": refusal.subject or refusal.code.value}
