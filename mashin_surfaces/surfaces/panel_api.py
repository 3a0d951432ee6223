"""Panels over HTTP: made, listed, read, triggered, resumed, taken away (``docs/panels.md``)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import perf_counter_ns
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..conf import settings
from ..dialects.panel import MOST_REQUEST_ID, OWN, error_code
from ..exceptions import Code, Recorded, Refusal
from ..governance.door import Door
from ..governance.errors import TABLE
from ..governance.govern import Caller, admit, note
from ..identity.authenticate import authenticate
from ..identity.presented import Presented
from ..identity.principal import Principal, anonymous
from ..machines.schemas import parse
from ..panels import store, suspensions
from ..panels.doors import Verb, panel_door
from ..panels.models import Panel
from ..panels.runner import Job, runner_of, trigger
from ..rooms.log import read_kept
from .csrf import check_csrf
from .database import in_database
from .denial import headers_of
from .json_view import Headers, JsonView, request_id_of
from .requests import WrongMethod, field_errors, json_object, number_of

#: Panels, and events, that one answer has at most, and when nothing is said.
MOST_PANELS, PANELS = 500, 100
MOST_EVENTS = 1_000

Body = dict[str, Any]
Handler = Callable[["PanelView", HttpRequest, Caller], Awaitable[tuple[int, Body]]]


class NewPanelBody(BaseModel):
    """The body of ``POST /panels``; what it does not know is passed over."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    id: str | None = None
    kind: str = Field(min_length=1, max_length=64)
    title: str = Field(default="", max_length=200)
    machine: str = Field(default="", max_length=64)
    tools: list[Any] = []
    initial_state: dict[str, Any] = Field(default={}, alias="initialState")
    capabilities: list[str] | None = None
    metadata: dict[str, Any] = {}


class PanelView(JsonView):
    """One request about panels; the URL says which, and ``action`` what is asked."""

    action = ""
    panel = ""
    detail = ""

    async def dispatch(  # type: ignore[override]  # DRF's is synchronous; Django takes either
        self, request: HttpRequest, action: str, panel: str = "", detail: str = ""
    ) -> HttpResponseBase:
        self.action, self.panel, self.detail = action, panel, detail
        wrapped = self._begin(request)
        status, body, headers = await self._answer(request)
        if status == 204:
            return HttpResponse(status=204, headers=dict(headers))
        return self._rendered(wrapped, status, body, headers)

    @property
    def allowed_methods(self) -> list[str]:
        return [method for action, method in HANDLERS if action == self.action]

    def get_view_name(self) -> str:
        return f"Panel {self.panel}" if self.panel else "Panels"

    async def _answer(self, request: HttpRequest) -> tuple[int, Body, Headers]:
        """Who, may they, do it; a refusal is recorded, and what was done is, too."""
        method = "GET" if request.method == "HEAD" else request.method or ""
        presented = Presented.from_request(request)
        caller = Caller(anonymous(()), presented.client)
        found = HANDLERS.get((self.action, method))
        verb: Verb = "read" if found is None else found[0]
        door = panel_door(verb, self.panel)
        request_id = request_id_of(request)
        headers: Headers = [("Cache-Control", "no-store")]
        try:
            if found is None:
                headers.append(("Allow", ", ".join(self.allowed_methods)))
                raise WrongMethod(f"{method} does nothing here.")
            principal = await authenticate(presented, door.accepted, door.grant)
            caller = Caller(principal, presented.client)
            if principal.credential.kind == "session":
                await check_csrf(request)
            if self.panel and verb not in ("create", "trigger"):
                await in_database(store.find, self.panel)  # 404 before 403, as for the socket
            if verb != "read" or self.panel:
                admit(door, principal)
            status, body = await found[1](self, request, caller)
        except Refusal as refusal:
            return await self._refused(door, verb, caller, refusal, request_id, headers)
        if verb == "trigger":  # its run has recorded it
            return status, body, headers
        answer = await note(door, caller, event=verb, request_id=request_id)
        if answer.refusal is not None:
            return await self._refused(door, verb, caller, answer.refusal, request_id, headers)
        return status, body, [*headers, ("X-Request-ID", answer.request_id)]

    async def _refused(
        self,
        door: Door,
        verb: Verb,
        caller: Caller,
        refusal: Refusal,
        request_id: str | None,
        headers: Headers,
    ) -> tuple[int, Body, Headers]:
        if isinstance(refusal, Recorded):
            access_id = refusal.access_id
        else:
            answer = await note(door, caller, event=verb, refusal=refusal, request_id=request_id)
            refusal, access_id = answer.refusal or refusal, answer.request_id
        status = TABLE[refusal.code].status
        if isinstance(refusal, WrongMethod):
            status = 405
        elif refusal.subject == "events":  # trimmed
            status = 410
        elif refusal.code is Code.INVALID_INPUT:
            status = 400
        error = {**refusal.as_dict(access_id), "code": error_code(refusal)}
        if refusal.code is Code.INVALID_INPUT and self.action == "panels":
            error["code"] = "INVALID_INPUT"
        more = [("X-Request-ID", access_id), *headers_of(refusal, door.accepted)]
        return status, {"error": error}, [*headers, *more]

    # -- what can be asked ----------------------------------------------------------------------

    async def _create(self, request: HttpRequest, caller: Caller) -> tuple[int, Body]:
        try:
            new = NewPanelBody.model_validate(_json_of(request))
        except ValidationError as error:
            raise field_errors(error, "A panel can't be made from this.") from None
        made = await in_database(
            store.create,
            store.NewPanel(
                kind=new.kind,
                key=new.id,
                title=new.title,
                machine=new.machine,
                tools=new.tools,
                state=new.initial_state,
                capabilities=new.capabilities,
                metadata=new.metadata,
            ),
            caller.principal.name,
        )
        key = made.room.key
        scheme = "wss" if request.is_secure() else "ws"
        path = f"{settings.PANELS.PREFIX}/panels/{key}/ws"
        return 201, {
            "id": key,
            "status": "running",
            "wsUrl": f"{scheme}://{request.get_host()}{path}",
        }

    async def _list(self, request: HttpRequest, caller: Caller) -> tuple[int, Body]:
        limit = number_of(request, "limit", PANELS, MOST_PANELS)
        after = request.GET.get("after")
        may_read = _readable(caller.principal)
        found, total = await in_database(store.page, after, limit, may_read)
        body: Body = {"panels": found, "total": total}
        if len(found) == limit:
            body["next"] = f"{request.path}?limit={limit}&after={found[-1]['id']}"
        return 200, body

    async def _info(self, request: HttpRequest, caller: Caller) -> tuple[int, Body]:
        def info() -> Body:
            return store.describe(store.find(self.panel))

        return 200, await in_database(info)

    async def _state(self, request: HttpRequest, caller: Caller) -> tuple[int, Body]:
        panel = await in_database(store.find, self.panel)
        return 200, panel.room.state

    async def _events(self, request: HttpRequest, caller: Caller) -> tuple[int, Body]:
        since = number_of(request, "since", 0, 2**62)
        limit = number_of(request, "limit", MOST_EVENTS, MOST_EVENTS)
        panel = await in_database(store.find, self.panel)
        found, now = await in_database(read_kept, panel.pk, since, limit)
        if now is None:
            raise store.no_panel(self.panel)
        if since < now.floor:
            raise Refusal(
                Code.NOT_FOUND,
                f"Events up to {now.floor} are not kept any more: read the state.",
                subject="events",
            )
        # Up to there nothing is left out but for the limit: what came behind was perhaps not read.
        offset = max(panel.room.head, found[-1].offset if found else 0)
        events = [
            {
                "type": event.type,
                "offset": event.offset,
                "by": event.actor,
                "requestId": event.request_id if not event.request_id.startswith(OWN) else None,
                **({"event": value} if event.type == "EVENT" else value),
            }
            for event, value in ((event, parse(event.payload, decimals=False)) for event in found)
            if isinstance(value, dict)
        ]
        return 200, {"events": events, "offset": offset, "epoch": panel.room.epoch}

    async def _delete(self, request: HttpRequest, caller: Caller) -> tuple[int, Body]:
        await in_database(store.delete, self.panel)
        return 204, {}

    async def _trigger(self, request: HttpRequest, caller: Caller) -> tuple[int, Body]:
        panel: Panel = await in_database(store.find, self.panel)
        request_id = request.headers.get("Idempotency-Key", "")
        if len(request_id) > MOST_REQUEST_ID or request_id.startswith(OWN):
            raise Refusal(
                Code.INVALID_INPUT, f"An Idempotency-Key has at most {MOST_REQUEST_ID} characters."
            )
        job = Job(
            tool=self.detail,
            args=_json_of(request) if request.body else None,
            caller=caller,
            request_id=request_id,
            started=perf_counter_ns(),
        )
        outcome = await trigger(panel.pk, self.panel, job)
        if outcome.result is None:
            refusal = outcome.refusal or Refusal(Code.EXECUTION_FAILED, "The tool was not run.")
            raise Recorded(refusal, outcome.access_id) if outcome.access_id else refusal
        return 200, outcome.result

    async def _suspensions(self, request: HttpRequest, caller: Caller) -> tuple[int, Body]:
        panel: Panel = await in_database(store.find, self.panel)
        found = await in_database(suspensions.open_ones, panel.pk)
        return 200, {"suspensions": [suspensions.describe(each) for each in found]}

    async def _resume(self, request: HttpRequest, caller: Caller) -> tuple[int, Body]:
        body = _json_of(request)
        error = body.get("error")
        if error is not None and not isinstance(error, str):
            raise Refusal(Code.INVALID_INPUT, 'Send {"value": …} or {"error": "…"}.')
        panel: Panel = await in_database(store.find, self.panel)
        await in_database(
            suspensions.answer,
            panel.pk,
            self.detail,
            caller.principal.name,
            body.get("value"),
            error,
        )
        runner_of(panel.pk, self.panel).wake()
        return 202, {"suspensionId": self.detail, "status": "answered"}

    async def _upgrade(self, request: HttpRequest, caller: Caller) -> tuple[int, Body]:
        error = {
            "code": "upgrade_required",
            "message": "This is a websocket: connect with an upgrade.",
        }
        return 426, {"error": error}


#: (action, method) → what one must hold, and what is done.
HANDLERS: dict[tuple[str, str], tuple[Verb, Handler]] = {
    ("panels", "GET"): ("read", PanelView._list),
    ("panels", "POST"): ("create", PanelView._create),
    ("panel", "GET"): ("read", PanelView._info),
    ("panel", "DELETE"): ("delete", PanelView._delete),
    ("state", "GET"): ("read", PanelView._state),
    ("events", "GET"): ("read", PanelView._events),
    ("trigger", "POST"): ("trigger", PanelView._trigger),
    ("suspensions", "GET"): ("read", PanelView._suspensions),
    ("suspension", "POST"): ("resume", PanelView._resume),
    ("ws", "GET"): ("read", PanelView._upgrade),
}

panels = PanelView.as_view()


def _json_of(request: HttpRequest) -> Body:
    return json_object(request, settings.PANELS.MAX_MESSAGE + settings.PANELS.MAX_STATE)


def _readable(principal: Principal) -> Callable[[str], bool]:
    return lambda key: principal.holds(f"panels:read:{key}")
