"""Sending the signals of runs (``signals.py``) once what they tell is committed.

What one process tells of a run comes in its order: one thread at a time is at it, whatever the
receivers take.
"""

from __future__ import annotations

import logging
from collections import deque
from threading import Lock
from typing import Any

from django.dispatch import Signal

from ..signals import gate_closed, gate_opened, run_ended
from ..steps.threads import effect_threads
from .change import Change
from .models import Gate, Run
from .state import RunState
from .states import GateStatus

logger = logging.getLogger(__name__)

#: Signals of one run that may wait for its receivers; what comes then is lost, and logged.
MOST_WAITING = 1_000

Told = tuple[Signal, dict[str, Any]]
#: What waits, by the runs that a thread is at: those that are not here have nothing to tell.
_waiting: dict[str, deque[Told]] = {}
_lock = Lock()


def announce(state: RunState, change: Change, *, is_over: bool) -> None:
    """Send what a committed change is worth."""
    sent: list[Told] = []
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
        _have_sent(state.run.id, due)


def _have_sent(run: str, due: list[Told]) -> None:
    with _lock:
        waiting = _waiting.get(run)
        if waiting is not None:
            places = max(0, MOST_WAITING - len(waiting))
            waiting.extend(due[:places])
            if len(due) > places:
                logger.error("Receivers of the run %s are too slow: what it tells is lost.", run)
            return
        _waiting[run] = deque(due)
    effect_threads.submit(_send_all, run)


def _send_all(run: str) -> None:
    while True:
        with _lock:
            waiting = _waiting[run]
            if not waiting:
                del _waiting[run]
                return
            signal, values = waiting.popleft()
        for _, answer in signal.send_robust(sender=Run, **values):
            if isinstance(answer, Exception):
                logger.error("A receiver of a run's signal failed", exc_info=answer)
