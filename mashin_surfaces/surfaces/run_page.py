"""A run on the page of its machine: looked at, decided and controlled, whole without a script.

Who may enter the page may look at any of the machine's runs whose id they have. To decide and to
control takes the scopes that it takes everywhere (``runs/doors.py``); what somebody sends goes the
way of what comes over a socket (``runs/commands.py``). ``page.py`` starts runs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, cast

from django.http import HttpRequest, HttpResponse, HttpResponseBase

from ..dialects import dag as dialect
from ..exceptions import Recorded, Refusal
from ..governance.door import Door
from ..governance.govern import Answer, Caller, admit, note
from ..identity.authenticate import authenticate
from ..identity.presented import Presented
from ..identity.principal import anonymous
from ..machines.json_values import dumps
from ..runs import commands, store
from ..runs.doors import Verb, run_door
from ..runs.models import Run
from .csrf import check_csrf
from .database import in_database
from .entrance import must_admit
from .run_shown import Badge, Reader, Typed, page_of
from .run_shown import recent as recent_runs
from .run_socket import choice_of
from .sockets import sockets_for, takes
from .visit import ERROR, Visit, login_of, read_form, rendered, see_other, sign_in, turned_away

#: Characters of a path in the ledger.
MOST_PATH: Final = 500
_CONTROLS: Final = ("pause", "resume", "cancel")


async def view(request: HttpRequest, door: Door, id: str) -> HttpResponseBase:
    """The run's page; a login, where that helps."""
    presented = Presented.from_request(request)
    caller = Caller(anonymous(()), presented.client)
    run: Run | None = None
    refusal: Refusal | None = None
    try:
        caller = Caller(await authenticate(presented, door.accepted, door.grant), presented.client)
        run = await _found(door, caller, id)
    except Refusal as caught:
        refusal = caught
    answer = await note(_at(door, run), caller, event="view", refusal=refusal)
    visit = Visit(request, door, caller, answer)
    if answer.refusal is None and run is not None:
        return await _shown(visit, run, Typed())
    return await turned_away(visit, presented)


async def command(request: HttpRequest, door: Door, id: str) -> HttpResponseBase:
    """What somebody has sent: a decision, or that the run shall pause, go on or end.

    It is recorded by the command; what is refused before, here.
    """
    presented = Presented.from_request(request)
    caller = Caller(anonymous(()), presented.client)
    run: Run | None = None
    sent: dict[str, str] = {}
    try:
        principal = await authenticate(presented, door.accepted, door.grant)
        caller = Caller(principal, presented.client)
        run = await _found(door, caller, id)
        sent = {name: texts[-1] for name, texts in read_form(request).items()}
        if principal.credential.kind == "session":
            await check_csrf(request)
        do = _command(run, sent)
        admit(door, principal)  # the page's own rate counts it, too
        answer = Answer(await do(caller), None, None)
    except Recorded as refusal:
        answer = Answer(refusal.access_id, None, refusal)
    except Refusal as refusal:
        answer = await note(
            _at(door, run), caller, event="message", refusal=refusal, raw=dumps(sent)
        )
    visit = Visit(request, door, caller, answer)
    if run is None:
        return await rendered(visit, ERROR, {"login": login_of(visit, presented)})
    if answer.refusal is None:
        return see_other(visit, run=run.pk)
    typed = Typed(sent.get("gate", ""), sent.get("feedback", ""), sent.get("scope", "node"))
    return await _shown(visit, run, typed)


async def recent(visit: Visit) -> Sequence[tuple[Run, Badge]]:
    """The runs of this machine that somebody finds on its page: all, with ``runs:view``; else those
    that they started, unless they are nobody in particular."""
    machine, principal = visit.door.name, visit.caller.principal
    may_view = _may("view", visit)
    if not may_view and principal.is_anonymous:
        return ()
    try:
        return await in_database(recent_runs, machine, None if may_view else principal.name)
    except Refusal:  # the page is there without them
        return ()


async def _found(door: Door, caller: Caller, id: str) -> Run:
    must_admit(door, caller.principal)
    return await in_database(store.find_of, door.name, id)


def _at(door: Door, run: Run | None) -> Door:
    """The door as the ledger shall have it: its path says which run."""
    return door if run is None else replace(door, path=f"{door.path}?run={run.pk}"[-MOST_PATH:])


# -- what was sent --------------------------------------------------------------------------------


def _command(run: Run, sent: Mapping[str, str]) -> Callable[[Caller], Awaitable[str]]:
    """What a form asks for; raises ``Refusal``."""
    control = sent.get("control")
    if control in _CONTROLS:
        return lambda caller: commands.acontrol(run, cast(Any, control), caller)
    choice = _choice(sent)
    return lambda caller: commands.adecide(run, choice, caller)


def _choice(sent: Mapping[str, str]) -> commands.Choice:
    """A decision at a gate as it was shown: the form says which revision that was. Its buttons have
    ``decision:option``. What is wrong with it, the dialect says."""
    decision, _colon, option = sent.get("option", "").partition(":")
    revision = sent.get("revision", "")
    fields = {
        "gate_id": sent.get("gate"),
        "decision": decision,
        "option_id": option or None,
        "revision": int(revision) if revision.isdecimal() and len(revision) < 10 else 0,
        "feedback": sent.get("feedback", "").replace("\r\n", "\n").strip(),
        "scope": sent.get("scope") if decision == "reject" else None,
        "ref": sent.get("ref"),
    }
    return replace(choice_of(dialect.human_decision(fields)), digest=sent.get("digest"))


# -- what is shown --------------------------------------------------------------------------------


async def _shown(visit: Visit, run: Run, typed: Typed) -> HttpResponse:
    """The page, with what was refused, if anything."""
    door, answer = visit.door, visit.answer
    may_decide = _may("decide", visit)
    reader = Reader(may_decide, _may("control", visit), _stream(visit, run))
    try:
        page = await in_database(page_of, run.pk, door.machine.compiled, reader, typed)
    except Refusal as refusal:  # it is gone, or the database is
        lost = replace(visit, answer=Answer(answer.request_id, None, refusal))
        return await rendered(lost, ERROR, {})
    context = {
        **page,
        "problem": "" if answer.refusal is None else answer.refusal.message,
        "login": None if may_decide or not visit.caller.principal.is_anonymous else sign_in(visit),
        "decides": run_door("decide", run.machine).wants,
        "has_csrf": "session" in door.accepted,
        "address": visit.request.path,
        "runs": await recent(visit),
    }
    own = f"mashin_surfaces/runs/{door.name}.html"
    return await rendered(visit, (own, "mashin_surfaces/run.html"), context)


def _may(verb: Verb, visit: Visit) -> bool:
    return run_door(verb, visit.door.name).admits(visit.caller.principal)


def _stream(visit: Visit, run: Run) -> str | None:
    """The path of a socket that tells of the run and takes whoever looks: one of the machine's own,
    else the run's; None when there is none."""
    principal = visit.caller.principal
    for route in sockets_for(run.machine, principal, "dag"):
        return f"{route.path}?run={run.pk}"
    door = run_door("view", run.machine, run.pk)
    return f"{door.path}/stream" if takes(door, principal) else None
