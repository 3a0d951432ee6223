"""Django signals, for mail, webhooks and whatever else a project wants to do then.

Sent after the commit, on a thread that may query; those that a process sends of one run come one
after the other, in their order. A receiver's error is logged. A process that dies between commit
and signal sends none: what must not be missed is in the run's log.
``sender`` is the model ``Run``.
"""

from __future__ import annotations

from django.dispatch import Signal

#: ``gate`` (``models.Gate``) waits for a decision. ``is_escalated``: nobody decided in time, so
#: somebody else should be asked.
gate_opened = Signal()
#: ``gate``: the run goes on from it. ``gate.choice`` says how it was decided, None: not in time.
gate_closed = Signal()
#: ``run`` (``models.Run``) has ended; ``run.outcome`` says how.
run_ended = Signal()
