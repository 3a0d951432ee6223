"""``ask NAME, using: "provider:model"``: a model call, or its ``assuming`` values.

Only the setting ``ASK = "assume"`` answers now; a call to a real model needs credentials.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..conf import settings
from ..exceptions import Code, Refusal
from ..machines.definition import AskModel
from ..machines.run_graph import REASON
from ..machines.schemas import Schema
from .ask_effect import promised
from .run import Run


def compile_ask_model(step: AskModel) -> Callable[[Run], Any]:
    """The step as a function of the run; needs the permission ``reason``."""
    name = step.name
    provider = step.model.partition(":")[0]
    returns = Schema.of(step.returns, allow_any=True)

    def ask(run: Run) -> Any:
        if run.assumed is None and settings.ASK != "assume":
            run.ask(name, REASON, model=step.model)
            raise Refusal(Code.EXECUTION_FAILED, f'no credentials for "{provider}"')
        run.ask(name, REASON, model=step.model, assumed=True)
        return promised(name, returns, run.assume(name, step.assuming))

    return ask
