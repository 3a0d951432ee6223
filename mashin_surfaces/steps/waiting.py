"""``gate``, ``wait for``, ``launch`` and ``launch_many``, outside of a run.

In a machine's own tests they give what is assumed. Otherwise nothing can wait here: that is what
runs are for, whose engine does not ask these functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..exceptions import Code, Refusal
from ..machines.definition import Gate, Launch, LaunchMany, WaitFor
from ..machines.expressions import parse_expression, parse_template
from ..machines.schemas import Schema
from .evaluation import compile_node
from .run import Run


def refuse_outside_of_a_run(run: Run, what: str) -> None:
    """Raises ``Refusal`` unless a machine's own test is running."""
    if run.assumed is None:
        raise Refusal(
            Code.EXECUTION_FAILED,
            f"{what} waits for people or events, or launches other machines: start the machine as "
            "a run, it can't be answered at once.",
        )


def compile_gate(step: Gate) -> Callable[[Run], dict[str, Any]]:
    """Approved, with the first option that approves, where nothing else is assumed."""
    name = step.name
    texts = [
        compile_node(parse_template(text)) for text in (step.title, step.question, step.context)
    ]
    options = {option.id: option for option in step.choices}

    def gate(run: Run) -> dict[str, Any]:
        refuse_outside_of_a_run(run, f'The gate "{name}"')
        for text in texts:
            run.evaluate(name, text)
        assumed = run.assume(name, {} if step.assuming is None else step.assuming)
        chosen = options.get(assumed.get("option"))
        if "option" in assumed and chosen is None:
            raise Refusal(
                Code.EXECUTION_FAILED,
                f'The gate "{name}" has no option "{assumed["option"]}"; '
                f"it has {', '.join(options)}.",
            )
        decision = assumed.get("decision", "approve" if chosen is None else chosen.decision)
        if decision == "reject":
            raise Refusal(Code.APPROVAL_DENIED, f'The gate "{name}" was rejected.')
        if decision != "approve":
            raise Refusal(
                Code.EXECUTION_FAILED,
                f'A test can\'t go on at the gate "{name}" with "{decision}"; assume that it is '
                "approved or rejected.",
            )
        approving = [option.id for option in options.values() if option.decision == decision]
        option = approving[0] if approving and chosen is None else assumed.get("option", "")
        given = {"decision": decision, "option": option, "feedback": "", "by": "", "revision": 1}
        return {**given, **assumed}

    return gate


def compile_wait_for(step: WaitFor) -> Callable[[Run], Any]:
    """What the event is assumed to bring."""
    name = step.name
    schema = Schema.of(step.fields, allow_any=True)

    def wait_for(run: Run) -> Any:
        refuse_outside_of_a_run(run, f'The step "{name}"')
        try:
            return schema.check(run.assume(name, step.assuming))
        except Refusal as refusal:
            if refusal.code is not Code.INVALID_INPUT:
                raise
            raise Refusal(
                Code.EXECUTION_FAILED,
                f'What "{name}" is assumed to get does not fit its `schema`.',
                details=refusal.details,
            ) from None

    return wait_for


def compile_launch(step: Launch) -> Callable[[Run], Any]:
    """The id of the run that is assumed to be launched."""
    name = step.name
    inputs = [compile_node(parse_expression(text)) for text in step.inputs.values()]

    def launch(run: Run) -> Any:
        refuse_outside_of_a_run(run, f'The step "{name}"')
        for expression in inputs:
            run.evaluate(name, expression)
        return run.assume(name, {"run_id": "assumed"} if step.assuming is None else step.assuming)

    return launch


def compile_launch_many(step: LaunchMany) -> Callable[[Run], Any]:
    """The ids of the runs that are assumed to be launched; what they give has to be assumed."""
    name = step.name
    items = compile_node(parse_expression(step.items))
    extra = None if step.extra_input is None else compile_node(parse_expression(step.extra_input))

    def launch_many(run: Run) -> Any:
        refuse_outside_of_a_run(run, f'The step "{name}"')
        launched = run.evaluate(name, items)
        if not isinstance(launched, list):
            raise Refusal(
                Code.EXECUTION_FAILED, f'The step "{name}" launches for a list, and got none.'
            )
        if extra is not None:
            run.evaluate(name, extra)
        if step.collect:
            return run.assume(name, step.assuming)
        ids = [f"assumed {number}" for number in range(1, len(launched) + 1)]
        return run.assume(name, {"run_ids": ids} if step.assuming is None else step.assuming)

    return launch_many
