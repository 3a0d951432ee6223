"""A machine's panel on its page: looked at, its tools triggered by forms, what they wait for
answered; whole without a script.

Who may enter the page reads and triggers, as at a websocket of the machine; to answer takes
``panels:resume`` as everywhere. What is sent goes the way of what comes over a socket
(``panels/runner.py``, ``panels/suspensions.py``). What is shown is put together by
``panel_shown.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter_ns
from typing import Any, Final

from django.http import HttpRequest, HttpResponseBase

from ..dialects.panel import MOST_REQUEST_ID, OWN
from ..exceptions import Code, Recorded, Refusal, wrong
from ..governance.door import Door
from ..governance.govern import Answer, Caller, admit, note
from ..identity.authenticate import authenticate
from ..identity.presented import Presented
from ..identity.principal import anonymous
from ..machines.json_values import parse
from ..panels import store, suspensions
from ..panels.doors import Verb, panel_door
from ..panels.models import Panel
from ..panels.runner import Job, runner_of, trigger
from .csrf import check_csrf
from .database import in_database
from .entrance import enter, must_admit
from .panel_shown import Reader, Sent, page_of
from .sockets import sockets_for
from .tool_forms import input_of
from .visit import ERROR, Visit, login_of, read_form, rendered, see_other, sign_in, turned_away

#: What begins JSON that is no single word: a text that begins so must be JSON.
_JSON_BEGINS: Final = ("{", "[", '"')


async def view(request: HttpRequest, door: Door) -> HttpResponseBase:
    """The panel as it stands; a login, where that helps."""
    presented = Presented.from_request(request)
    answer, caller = await enter(door, presented, event="view")
    visit = Visit(request, door, caller, answer)
    if answer.refusal is not None:
        return await turned_away(visit, presented)
    return await _shown(visit, Sent())


@dataclass(slots=True)
class _Command:
    """What somebody has sent, as far as it is known. ``door``: what it takes, once that is."""

    door: Door
    event: str = "message"
    may_enter: bool = False
    sent: Sent = field(default_factory=Sent)


async def command(request: HttpRequest, door: Door) -> HttpResponseBase:
    """``?trigger=<tool>&request=<id>`` runs a tool, ``?answer=<suspension>`` answers one.

    What is done is recorded where it is done; what is refused before, here.
    """
    presented = Presented.from_request(request)
    caller = Caller(anonymous(()), presented.client)
    doing = _Command(door)
    try:
        principal = await authenticate(presented, door.accepted, door.grant)
        caller = Caller(principal, presented.client)
        must_admit(door, principal)
        doing.may_enter = True
        doing.sent = _sent(request, read_form(request))
        if principal.credential.kind == "session":
            await check_csrf(request)
        panel = await in_database(store.panel_of, door.name, door.machine.compiled.title)
        if doing.sent.suspension:
            doing.door, doing.event = panel_door("resume", door.name, door.name), "resume"
            await _answer(panel, doing, caller)
            answer = await note(doing.door, caller, event="resume")
        else:
            doing.door, doing.event = _trigger_door(door), "trigger"
            answer = await _trigger(panel, doing, caller)
    except Recorded as refusal:
        answer = Answer(refusal.access_id, None, refusal)
    except Refusal as refusal:
        answer = await note(doing.door, caller, event=doing.event, refusal=refusal)
    visit = Visit(request, door, caller, answer)
    if not doing.may_enter:
        return await rendered(visit, ERROR, {"login": login_of(visit, presented)})
    if answer.refusal is None and doing.sent.suspension:
        return see_other(visit, answered=doing.sent.suspension)
    return await _shown(visit, doing.sent)


def _sent(request: HttpRequest, form: Mapping[str, Sequence[str]]) -> Sent:
    """What the form's address and fields say."""
    request_id = request.GET.get("request", "")
    if len(request_id) > MOST_REQUEST_ID or request_id.startswith(OWN):
        raise Refusal(Code.INVALID_INPUT, f"A request has at most {MOST_REQUEST_ID} characters.")
    tool, suspension = request.GET.get("trigger", ""), request.GET.get("answer", "")
    if not tool and not suspension:
        raise Refusal(
            Code.UNKNOWN_MESSAGE,
            "The address says what to do: ?trigger=<tool> or ?answer=<suspension>.",
        )
    return Sent(tool=tool, suspension=suspension, request_id=request_id, fields=form)


# -- what is done -------------------------------------------------------------------------------


def _trigger_door(door: Door) -> Door:
    """The panel's, through which those come who may enter the page; the page's rate counts."""
    to_panel = panel_door("trigger", door.name, door.name)
    return replace(to_panel, wanted=door.wanted, rate=door.rate or to_panel.rate)


async def _trigger(panel: Panel, doing: _Command, caller: Caller) -> Answer:
    """Have the tool run; what it answered is the ``result``. Raises ``Refusal``."""
    admit(doing.door, caller.principal)
    tool = store.tools_of(panel).get(doing.sent.tool)
    if tool is None:
        raise Refusal(
            Code.NOT_FOUND, f'This panel has no tool "{doing.sent.tool[:64]}".', subject="tool"
        )
    job = Job(
        tool=tool.name,
        args=input_of(tool).read(doing.sent.fields),
        caller=caller,
        request_id=doing.sent.request_id,
        started=perf_counter_ns(),
    )
    outcome = await trigger(panel.pk, panel.room.key, job)
    if outcome.result is None:
        refusal = outcome.refusal or Refusal(Code.EXECUTION_FAILED, "The tool was not run.")
        raise Recorded(refusal, outcome.access_id) if outcome.access_id else refusal
    return Answer(outcome.access_id, outcome.result, None)


async def _answer(panel: Panel, doing: _Command, caller: Caller) -> None:
    """Give a tool what it waits for; raises ``Refusal``."""
    admit(doing.door, caller.principal)
    fields = {name: texts[-1] for name, texts in doing.sent.fields.items()}
    given = fields.get("given", "").replace("\r\n", "\n")
    value, error = None, None
    if fields.get("as") == "error":
        error = given.strip()
        if not error:
            raise wrong("/given", "Say what is wrong: the tool gets it as its error.")
    else:
        value = _value(given)
    name = caller.principal.name
    await in_database(suspensions.answer, panel.pk, doing.sent.suspension, name, value, error)
    runner_of(panel.pk, panel.room.key).wake()


def _value(text: str) -> Any:
    """JSON, or a text that is none: people answer with words."""
    try:
        return parse(text, decimals=False)
    except Refusal:
        if text.lstrip().startswith(_JSON_BEGINS):
            raise wrong("/given", "This begins like JSON, and is none.") from None
        return text


# -- what is shown ------------------------------------------------------------------------------


async def _shown(visit: Visit, sent: Sent) -> HttpResponseBase:
    """The page, with what became of what was sent."""
    door, answer, principal = visit.door, visit.answer, visit.caller.principal
    title = door.machine.compiled.title
    resume = _resume(door.name)
    reader = Reader(
        may_answer=resume.admits(principal),
        answered=visit.request.GET.get("answered", ""),
        refusal=answer.refusal,
        result=answer.result,
    )
    try:
        shown = await in_database(page_of, door.name, title, reader, sent)
    except Refusal as refusal:  # another panel has its name, or the database is away
        lost = replace(visit, answer=Answer(answer.request_id, None, refusal))
        return await rendered(lost, ERROR, {})
    socket = next(sockets_for(door.name, principal, "panel"), None)
    context = {
        **shown,
        "websocket": "" if socket is None else socket.path,
        "login": sign_in(visit) if principal.is_anonymous and not reader.may_answer else None,
        "resumes": resume.wants,
        "has_csrf": "session" in door.accepted,
        "address": visit.request.path,
    }
    own = f"mashin_surfaces/panels/{door.name}.html"
    return await rendered(visit, (own, "mashin_surfaces/panel.html"), context)


def _resume(panel: str) -> Door:
    verb: Verb = "resume"
    return panel_door(verb, panel, panel)
