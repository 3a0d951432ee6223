"""Sending the signals of runs (``signals.py``) once what they tell is committed."""

from __future__ import annotations

import logging
from typing import Any

from django.dispatch import Signal

from ..signals import gate_closed, gate_opened, run_ended
from ..steps.threads import effect_threads
from .change import Change
from .models import Gate, Run
from .state import RunState
from .states import GateStatus

logger = logging.getLogger(__name__)


def announce(state: RunState, change: Change, *, is_over: bool) -> None:
    """Send what a committed change is worth."""
    sent: list[tuple[Signal, dict[str, Any]]] = []
    for gate in change.gates.values():
        if gate.kind == Gate.Kind.WAIT:
            continue
        if gate.status == GateStatus.OPEN:
            sent.append((gate_opened, {"gate": gate, "is_escalated": gate.is_escalated}))
        elif gate.is_taken:
            sent.append((gate_closed, {"gate": gate}))
    if is_over:
        sent.append((run_ended, {"run": state.run}))
    due = [each for each in sent if each[0].receivers]
    if due:
        effect_threads.submit(_send, due)


def _send(due: list[tuple[Signal, dict[str, Any]]]) -> None:
    for signal, values in due:
        for _, answer in signal.send_robust(sender=Run, **values):
            if isinstance(answer, Exception):
                logger.error("A receiver of a run's signal failed", exc_info=answer)
