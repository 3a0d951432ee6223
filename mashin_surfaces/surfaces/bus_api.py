"""Incubators over HTTP: ``<PREFIX>/<namespace>/state``, ``events``, ``claims``, ``agents``,
``control``, ``metrics``, ``dances`` (``docs/incubators.md``). A machine's own API surface with
exactly that path wins."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from django.http import HttpRequest, HttpResponseBase

from ..conf import settings
from ..dialects import incubator as dialect
from ..exceptions import Code, Refusal, wrong_field
from ..governance.errors import TABLE
from ..governance.govern import Caller, admit, note
from ..identity.authenticate import authenticate
from ..identity.presented import Presented
from ..identity.principal import anonymous
from ..incubators import bus, dances, metrics, store
from ..incubators.doors import Verb, bus_door
from ..incubators.models import Incubator
from ..ledger.chain import new_id
from ..machines.json_values import dumps
from ..rooms.events import NewEvent
from ..rooms.log import read_kept
from .bus_socket import agent_of
from .csrf import check_csrf
from .database import in_database
from .denial import headers_of
from .json_view import Headers, JsonView, request_id_of
from .requests import WrongMethod, json_object, number_of

#: Events that one answer has at most.
MOST_EVENTS = 1_000

Given = tuple[int, Any]
Handler = Callable[["BusView", HttpRequest, "_Visit"], Awaitable[Given]]


class _Visit:
    """Who asks, and of which namespace."""

    def __init__(self, caller: Caller, incubator: Incubator, verb: Verb, body: Any) -> None:
        self.incubator = incubator
        self.room = incubator.pk
        self.namespace = incubator.room.key
        self.caller = caller
        self.door = bus_door(verb, self.namespace, incubator.machine)
        self.body: dict[str, Any] = body

    def actor(self) -> bus.Actor:
        named = self.body.get("agent_id") or self.body.get("agentId")
        agent = agent_of(self.caller.principal, named if isinstance(named, str) else None)
        return bus.Actor(self.caller, agent)

    def text(self, name: str) -> str:
        value = self.body.get(name)
        if not isinstance(value, str) or not 0 < len(value) <= dialect.MOST_NAME:
            raise wrong_field(name, f"It is a text of 1 to {dialect.MOST_NAME} characters.")
        return value

    def number(self, name: str) -> int | None:
        value = self.body.get(name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise wrong_field(name, "It is a whole number.")
        return value


class BusView(JsonView):
    """One request about a namespace; ``action`` is what is asked."""

    action = ""
    namespace = ""
    detail = ""

    async def dispatch(  # type: ignore[override]  # DRF's is synchronous; Django takes either
        self, request: HttpRequest, action: str, namespace: str, detail: str = ""
    ) -> HttpResponseBase:
        self.action, self.namespace, self.detail = action, namespace, detail
        wrapped = self._begin(request)
        status, body, headers = await self._answer(request)
        return self._rendered(wrapped, status, body, headers)

    @property
    def allowed_methods(self) -> list[str]:
        return [method for action, method in HANDLERS if action == self.action]

    def get_view_name(self) -> str:
        return f"Incubator {self.namespace}"

    async def _answer(self, request: HttpRequest) -> tuple[int, Any, Headers]:
        """Who, may they, do it; what was read is recorded here, what was done where it is done."""
        presented = Presented.from_request(request)
        caller = Caller(anonymous(()), presented.client)
        request_id = request_id_of(request) or new_id()
        headers: Headers = [("Cache-Control", "no-store"), ("X-Request-ID", request_id)]
        method = "GET" if request.method == "HEAD" else request.method or ""
        found = HANDLERS.get((self.action, method))
        verb: Verb = "observe" if found is None else found[0]
        door = bus_door(verb, self.namespace[:64])
        try:
            if found is None:
                headers.append(("Allow", ", ".join(self.allowed_methods)))
                raise WrongMethod(f"{method} does nothing here.")
            principal = await authenticate(presented, door.accepted, door.grant)
            caller = Caller(principal, presented.client)
            if principal.credential.kind == "session":
                await check_csrf(request)
            admit(door, principal)
            body = {} if method == "GET" else json_object(request, settings.INCUBATORS.MAX_VALUE)
            find = store.find if method == "POST" else store.known
            incubator = await in_database(find, self.namespace)
            status, answer = await found[1](self, request, _Visit(caller, incubator, verb, body))
            if method == "GET":
                noted = await note(door, caller, event="read", request_id=request_id)
                if noted.refusal is not None:
                    raise noted.refusal
        except Refusal as refusal:
            noted = await note(door, caller, event="read", refusal=refusal, request_id=request_id)
            told = noted.refusal or refusal
            status = 405 if "Allow" in dict(headers) else _status_of(told)
            error = {**told.as_dict(request_id), "code": dialect.error_code(told)}
            return status, {"error": error}, [*headers, *headers_of(told, door.accepted)]
        return status, answer, headers

    # -- read -----------------------------------------------------------------------------------

    async def _state(self, request: HttpRequest, visit: _Visit) -> Given:
        state = await in_database(store.state, visit.room)
        key = request.GET.get("key")
        if key is None:
            return 200, state
        if key not in state:
            raise Refusal(Code.NOT_FOUND, f'There is no key "{key[:100]}".', subject="key")
        return 200, {key: state[key]}

    async def _events(self, request: HttpRequest, visit: _Visit) -> Given:
        since = number_of(request, "since", 0, 2**62)
        limit = number_of(request, "limit", MOST_EVENTS, MOST_EVENTS)
        wanted = request.GET.get("type")
        if wanted is not None and not dialect.is_glob(wanted):
            raise wrong_field("type", "It is a type of events; * stands for one part between dots.")
        globs = None if wanted is None else (wanted,)
        found: list[dict[str, Any]] = []
        position = since
        while len(found) < limit:
            entries, room = await in_database(read_kept, visit.room, position, MOST_EVENTS)
            floor = position if room is None else room.floor
            if 0 < position < floor:
                raise Refusal(
                    Code.NOT_FOUND, f"Events up to {floor} are not kept any more.", subject="gone"
                )
            if not entries:
                break
            for entry in entries:
                if entry.type != "event" or len(found) >= limit:
                    continue
                event = orjson.loads(entry.payload)
                if dialect.matches(globs, event["event_type"]):
                    told = {"type": event["event_type"], "data": event["data"]}
                    told |= {"agent_id": event["agent_id"], "timestamp": entry.at}
                    found.append({"id": entry.offset, **told})
            position = entries[-1].offset
        return 200, found

    async def _claims(self, request: HttpRequest, visit: _Visit) -> Given:
        return 200, await in_database(store.claims, visit.room)

    async def _agents(self, request: HttpRequest, visit: _Visit) -> Given:
        return 200, await in_database(store.agents, visit.room)

    async def _metrics(self, request: HttpRequest, visit: _Visit) -> Given:
        return 200, await in_database(metrics.snapshot, visit.room)

    async def _dances(self, request: HttpRequest, visit: _Visit) -> Given:
        tools = dances.tools_of(visit.incubator.machine)
        return 200, [
            {"name": name, "description": tool.definition.description}
            for name, tool in tools.items()
        ]

    # -- done -----------------------------------------------------------------------------------

    async def _publish(self, request: HttpRequest, visit: _Visit) -> Given:
        type, actor = visit.text("type"), visit.actor()
        data = visit.body.get("data", {})
        payload = {"event_type": type, "data": data, "agent_id": actor.agent}
        event = NewEvent("event", dumps(payload).decode(), actor.agent[:200])
        given = {"event": type, "data": data}
        appended, _ = await bus.act(visit.room, visit.door, actor, given, None, events=[event])
        return 201, {"id": appended.last, "type": type, "data": data}

    async def _set(self, request: HttpRequest, visit: _Visit) -> Given:
        key, version = visit.text("key"), visit.number("ifVersion")
        if "value" not in visit.body:
            raise wrong_field("value", "It has to be there.")
        value = visit.body["value"]
        version = await self._act(visit, lambda writer: writer.set_state(key, value, version))
        return 200, {"key": key, "value": value, "version": version}

    async def _delete(self, request: HttpRequest, visit: _Visit) -> Given:
        key, version = visit.text("key"), visit.number("ifVersion")
        await self._act(visit, lambda writer: writer.delete_state(key, version))
        return 200, {"key": key, "deleted": True}

    async def _claim(self, request: HttpRequest, visit: _Visit) -> Given:
        resource, ttl = visit.text("resource"), visit.number("ttlMs")
        if ttl is not None and not 0 < ttl <= dialect.LONGEST_WAIT:
            raise wrong_field("ttlMs", f"It is from 1 to {dialect.LONGEST_WAIT}.")
        fence = await self._act(visit, lambda writer: writer.claim(resource, ttl))
        return 201, {"resource": resource, "agent_id": visit.actor().agent, "fence": fence}

    async def _release(self, request: HttpRequest, visit: _Visit) -> Given:
        resource = visit.text("resource")
        await self._act(visit, lambda writer: writer.release(resource))
        return 200, {"resource": resource, "released": True}

    async def _control(self, request: HttpRequest, visit: _Visit) -> Given:
        command = dialect.control_of(visit.body)
        agent = visit.actor().agent
        await self._act(visit, lambda writer: writer.control(command, by=agent))
        return 200, {"command": command.command, "reason": command.reason}

    async def _dance(self, request: HttpRequest, visit: _Visit) -> Given:
        args = visit.body.get("args", {})
        if not isinstance(args, dict):
            raise wrong_field("args", "It is an object.")
        call_id = visit.body.get("callId")
        id = call_id if isinstance(call_id, str) and 0 < len(call_id) <= 64 else new_id()
        call = dances.Call(self.detail, args, visit.actor(), id, visit.incubator.room.epoch)
        answer = await dances.dances_of(visit.room, visit.namespace, visit.incubator.machine).call(
            call
        )
        result = orjson.loads(answer.text)
        status = _STATUS.get(result["code"], 409) if answer.is_failure else 200
        return status, {"result": result, "callId": id}

    async def _act(self, visit: _Visit, do: Callable[[bus.Writer], Any]) -> Any:
        _, result = await bus.act(visit.room, visit.door, visit.actor(), visit.body, do)
        return result


_STATUS = {code.value: row.status for code, row in TABLE.items()} | {"tool": 404}


def _status_of(refusal: Refusal) -> int:
    return 410 if refusal.subject == "gone" else TABLE[refusal.code].status


HANDLERS: dict[tuple[str, str], tuple[Verb, Handler]] = {
    ("state", "GET"): ("observe", BusView._state),
    ("state", "POST"): ("act", BusView._set),
    ("state", "DELETE"): ("act", BusView._delete),
    ("events", "GET"): ("observe", BusView._events),
    ("events", "POST"): ("publish", BusView._publish),
    ("claims", "GET"): ("observe", BusView._claims),
    ("claims", "POST"): ("act", BusView._claim),
    ("claims", "DELETE"): ("act", BusView._release),
    ("agents", "GET"): ("observe", BusView._agents),
    ("metrics", "GET"): ("observe", BusView._metrics),
    ("control", "POST"): ("control", BusView._control),
    ("dances", "GET"): ("observe", BusView._dances),
    ("dance", "POST"): ("act", BusView._dance),
}

buses = BusView.as_view()
