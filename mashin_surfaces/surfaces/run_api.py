"""Runs over HTTP: started, listed, read, decided, controlled (``docs/runs.md``)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Annotated, Any

import orjson
from django.http import HttpRequest, HttpResponseBase
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..conf import settings
from ..dialects import dag as dialect
from ..exceptions import Code, Recorded, Refusal
from ..governance.errors import TABLE
from ..governance.govern import Caller, admit, note
from ..identity.authenticate import authenticate
from ..identity.presented import Presented
from ..identity.principal import anonymous
from ..ledger.chain import new_id
from ..rooms.log import read_kept
from ..runs import commands, listing, store
from ..runs.doors import run_door
from ..runs.models import Node, Run
from ..runs.snapshot import run_view, take
from ..runs.starting import Wish, start
from ..runs.states import NodeStatus
from .csrf import check_csrf
from .database import in_database
from .denial import headers_of
from .json_view import Headers, JsonView, request_id_of
from .requests import WrongMethod, field_errors, json_object, number_of
from .run_socket import choice_of

#: Runs, and entries of a log, that one answer has at most, and when nothing is said.
MOST_RUNS, RUNS = 500, 100
MOST_EVENTS = 1_000
MOST_KEY = 200

Body = dict[str, Any]
#: Status, body, and the request id of the access row that is written already.
Given = tuple[int, Any, str | None]
Handler = Callable[["RunView", HttpRequest, Caller, Run], Awaitable[Given]]
#: What runs are while they become something else.
_ON_THE_WAY = frozenset({Run.Status.PAUSING, Run.Status.CANCELLING})


class NewRunBody(BaseModel):
    """The body of ``POST /api/dags``; what it does not know is passed over."""

    model_config = ConfigDict(extra="ignore")

    machine: Annotated[str, Field(min_length=1, max_length=64)]
    input: dict[str, Any] = {}
    budget: Annotated[Decimal, Field(ge=0, max_digits=16, decimal_places=6)] | None = None
    max_parallel: Annotated[int, Field(ge=1, le=256)] | None = None


class SignalBody(BaseModel):
    """What a ``wait for`` gets, by its node or by the event's name."""

    model_config = ConfigDict(extra="ignore")

    node_id: str | None = None
    event: str | None = None
    value: Any = None


class RunView(JsonView):
    """One request about runs; the URL says which, and ``action`` what is asked."""

    action = ""
    run = ""
    node = ""

    async def dispatch(  # type: ignore[override]  # DRF's is synchronous; Django takes either
        self, request: HttpRequest, action: str, run: str = "", node: str = ""
    ) -> HttpResponseBase:
        self.action, self.run, self.node = action, run, node
        wrapped = self._begin(request)
        status, body, headers = await self._answer(request)
        return self._rendered(wrapped, status, body, headers)

    @property
    def allowed_methods(self) -> list[str]:
        return [method for action, method in {**OF_ALL, **OF_ONE} if action == self.action]

    def get_view_name(self) -> str:
        return f"Run {self.run}" if self.run else "Runs"

    async def _answer(self, request: HttpRequest) -> tuple[int, Any, Headers]:
        """Who, may they, do it; a refusal is recorded, and what was read is, too."""
        door = run_door("view")
        presented = Presented.from_request(request)
        caller = Caller(anonymous(()), presented.client)
        request_id = request_id_of(request) or new_id()
        headers: Headers = [("Cache-Control", "no-store")]
        try:
            method = self._method(request, headers)
            principal = await authenticate(presented, door.accepted, door.grant)
            caller = Caller(principal, presented.client)
            if principal.credential.kind == "session":
                await check_csrf(request)
            if not self.run:
                answered = await OF_ALL[self.action, method](self, request, caller, request_id)
            else:
                run = await self._found(method)
                door = run_door("view", run.machine, run.pk)
                if method == "GET":
                    admit(door, principal)
                answered = await OF_ONE[self.action, method](self, request, caller, run)
            status, body, recorded = answered
            if recorded is None:
                answer = await note(door, caller, event="read", request_id=request_id)
                if answer.refusal is not None:
                    raise Recorded(answer.refusal, request_id)
        except Recorded as refusal:
            return self._refused(refusal, refusal.access_id, headers)
        except Refusal as refusal:
            answer = await note(door, caller, event="read", refusal=refusal, request_id=request_id)
            return self._refused(answer.refusal or refusal, request_id, headers)
        return status, body, [*headers, ("X-Request-ID", recorded or request_id)]

    def _method(self, request: HttpRequest, headers: Headers) -> str:
        method = "GET" if request.method == "HEAD" else request.method or ""
        if method not in self.allowed_methods:
            headers.append(("Allow", ", ".join(self.allowed_methods)))
            raise WrongMethod(f"{method} does nothing here.")
        return method

    async def _found(self, method: str) -> Run:
        """The run. Only who looks may say "the newest of this machine": what is done is done to a
        run that somebody has seen."""
        run = await in_database(store.find, self.run)
        if method != "GET" and run.pk != self.run:
            raise Refusal(Code.NOT_FOUND, "Say which run: by its id.", subject="run")
        return run

    def _refused(
        self, refusal: Refusal, request_id: str, headers: Headers
    ) -> tuple[int, Body, Headers]:
        status = TABLE[refusal.code].status
        if "Allow" in dict(headers):
            status = 405
        elif refusal.subject == "events":  # trimmed
            status = 410
        error = {**refusal.as_dict(request_id), "code": dialect.error_code(refusal)}
        more = [("X-Request-ID", request_id), *headers_of(refusal, settings.RUNS.AUTH)]
        return status, {"error": error}, [*headers, *more]

    # -- all runs -------------------------------------------------------------------------------

    async def _start(self, request: HttpRequest, caller: Caller, request_id: str) -> Given:
        key = request.headers.get("Idempotency-Key")
        if key is not None and not 0 < len(key) <= MOST_KEY:
            raise Refusal(Code.INVALID_INPUT, f"An Idempotency-Key has 1 to {MOST_KEY} characters.")
        try:
            new = NewRunBody.model_validate(_json_of(request))
        except ValidationError as error:
            raise field_errors(error, "A run can't be started from this.") from None
        wish = Wish(new.budget, new.max_parallel, key)
        run = await start(new.machine, new.input, caller, wish, request_id)
        scheme = "wss" if request.is_secure() else "ws"
        url = f"{scheme}://{request.get_host()}{settings.RUNS.PREFIX}/{run.pk}/stream"
        return 201, {"id": run.pk, "status": run.status, "wsUrl": url}, request_id

    async def _list(self, request: HttpRequest, caller: Caller, request_id: str) -> Given:
        limit = max(1, number_of(request, "limit", RUNS, MOST_RUNS))
        found = await in_database(
            listing.page,
            lambda machine: caller.principal.holds(f"runs:view:{machine}"),
            machine=request.GET.get("machine"),
            status=request.GET.get("status"),
            after=request.GET.get("after"),
            limit=limit,
        )
        body: Body = {"runs": [run_view(run) for run in found]}
        if len(found) == limit:
            query = request.GET.copy()
            query["after"] = found[-1].pk
            body["next"] = f"{request.path}?{query.urlencode()}"
        return 200, body, None

    # -- one run, read --------------------------------------------------------------------------

    async def _snapshot(self, request: HttpRequest, caller: Caller, run: Run) -> Given:
        snapshot = await in_database(take, run.pk)
        if snapshot is None:
            raise Refusal(Code.NOT_FOUND, "This run is gone.", subject="run")
        head = snapshot.head
        return 200, {**snapshot.view, "offset": head.head, "epoch": head.epoch}, None

    async def _events(self, request: HttpRequest, caller: Caller, run: Run) -> Given:
        since = number_of(request, "since", 0, 2**62)
        limit = number_of(request, "limit", MOST_EVENTS, MOST_EVENTS)
        found, now = await in_database(read_kept, run.room_id, since, limit)
        if now is None:
            raise Refusal(Code.NOT_FOUND, "This run is gone.", subject="run")
        if since < now.floor:
            raise Refusal(
                Code.NOT_FOUND,
                f"Entries up to {now.floor} are not kept any more: read the run.",
                subject="events",
            )
        # Up to there nothing is left out but for the limit: what came behind was perhaps not read.
        offset = max(run.room.head, found[-1].offset if found else 0)
        events = [
            orjson.Fragment(
                dialect.entry(event.type, event.payload, event.offset, event.at.isoformat())
            )
            for event in found
        ]
        return 200, {"events": events, "offset": offset, "epoch": now.epoch}, None

    async def _output(self, request: HttpRequest, caller: Caller, run: Run) -> Given:
        nodes = Node.objects.using(run._state.db).filter(run=run, name=self.node)
        node = await in_database(nodes.first)
        if node is None or node.status != NodeStatus.COMPLETED:
            raise Refusal(Code.NOT_FOUND, "There is no such output (yet).", subject="node")
        return 200, node.output, None

    async def _results(self, request: HttpRequest, caller: Caller, run: Run) -> Given:
        nodes = Node.objects.using(run._state.db).filter(run=run, status=NodeStatus.COMPLETED)
        pairs = nodes.order_by("position").values_list("name", "output")
        return 200, dict(await in_database(list, pairs)), None

    async def _describe(self, request: HttpRequest, caller: Caller, run: Run) -> Given:
        """A socket asked by plain HTTP: browsers hide from scripts why an upgrade was refused."""
        door = run_door("view", run.machine, run.pk)
        body = {
            "error": {
                "code": "upgrade_required",
                "message": "This is a websocket: connect with an upgrade (RFC 6455).",
            },
            "surface": {
                "kind": "websocket",
                "dialect": "dag",
                "path": f"{door.path}/stream",
                "machine": run.machine,
                "auth": sorted(door.accepted),
                "scopes": list(door.wanted),
            },
        }
        return 426, body, None

    # -- one run, changed -----------------------------------------------------------------------

    async def _decide(self, request: HttpRequest, caller: Caller, run: Run) -> Given:
        choice = choice_of(dialect.human_decision(_json_of(request)))
        return await self._done(run, await commands.adecide(run, choice, caller))

    async def _pause(self, request: HttpRequest, caller: Caller, run: Run) -> Given:
        return await self._done(run, await commands.acontrol(run, "pause", caller))

    async def _resume(self, request: HttpRequest, caller: Caller, run: Run) -> Given:
        return await self._done(run, await commands.acontrol(run, "resume", caller))

    async def _cancel(self, request: HttpRequest, caller: Caller, run: Run) -> Given:
        return await self._done(run, await commands.acontrol(run, "cancel", caller))

    async def _retry(self, request: HttpRequest, caller: Caller, run: Run) -> Given:
        return await self._done(run, await commands.aretry(run, self.node, caller))

    async def _signal(self, request: HttpRequest, caller: Caller, run: Run) -> Given:
        try:
            signal = SignalBody.model_validate(_json_of(request))
        except ValidationError as error:
            raise field_errors(error, "This is no signal.") from None
        if (signal.node_id is None) == (signal.event is None):
            raise Refusal(Code.INVALID_INPUT, 'A signal has a "node_id" or an "event".')
        recorded = await commands.asignal(
            run, caller, signal.value, node_id=signal.node_id, event=signal.event
        )
        return await self._done(run, recorded)

    async def _mutate(self, request: HttpRequest, caller: Caller, run: Run) -> Given:
        change = dialect.mutate_dag(_json_of(request))
        recorded = await commands.amutate(run, change.mutation, change.topology_version, caller)
        return await self._done(run, recorded)

    async def _done(self, run: Run, recorded: str) -> Given:
        """How the run stands after a command; 202 while it is on its way."""
        now = await in_database(store.find, run.pk)
        status = 202 if now.status in _ON_THE_WAY else 200
        return status, {"id": now.pk, "status": now.status}, recorded


#: (action, method) → what is done, of no run in particular and of one.
OF_ALL: dict[tuple[str, str], Callable[[RunView, HttpRequest, Caller, str], Awaitable[Given]]] = {
    ("runs", "GET"): RunView._list,
    ("runs", "POST"): RunView._start,
}
OF_ONE: dict[tuple[str, str], Handler] = {
    ("run", "GET"): RunView._snapshot,
    ("events", "GET"): RunView._events,
    ("output", "GET"): RunView._output,
    ("results", "GET"): RunView._results,
    ("stream", "GET"): RunView._describe,
    ("decisions", "POST"): RunView._decide,
    ("pause", "POST"): RunView._pause,
    ("resume", "POST"): RunView._resume,
    ("cancel", "POST"): RunView._cancel,
    ("retry", "POST"): RunView._retry,
    ("signals", "POST"): RunView._signal,
    ("mutations", "POST"): RunView._mutate,
}

runs = RunView.as_view()


def _json_of(request: HttpRequest) -> Body:
    return json_object(request, settings.RUNS.MAX_MESSAGE)
