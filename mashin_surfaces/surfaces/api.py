"""The API door: one asynchronous DRF view for all API surfaces.

JSON in (GET and DELETE: the query string, coerced by type), the bare output out, refusals with the
table's status. Who asks for events gets each result of a machine that streams, as it comes, or
follows a topic.
People who ask for HTML get DRF's browsable API.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse

from ..exceptions import Code, Refusal
from ..governance.door import Door
from ..governance.errors import TABLE
from ..governance.govern import Answer, Caller, govern, govern_stream, note
from ..identity.presented import CREDENTIAL_PARAMETERS, Presented
from ..identity.principal import anonymous
from ..ledger.chain import new_id
from ..machines.schemas import Schema, dumps
from .csrf import check_csrf
from .denial import headers_of
from .describe import describe_surface
from .event_stream import EventStream, event_text, wants_events
from .follow import follow, last_event_id
from .identify import identify
from .json_view import Headers, JsonView, request_id_of
from .requests import WrongMethod
from .routes import routes

WITHOUT_BODY = frozenset({"GET", "DELETE"})


class SurfaceApi(JsonView):
    """One access to an API surface; ``door`` comes from the URL."""

    door: Door

    async def dispatch(  # type: ignore[override]  # DRF's is synchronous; Django takes either
        self, request: HttpRequest, door: Door
    ) -> HttpResponseBase:
        self.door = door
        wrapped = self._begin(request)
        if request.method == "OPTIONS":
            allow = [("Allow", ", ".join(self.allowed_methods))]
            return self._rendered(wrapped, 200, describe_surface(self.door), allow)
        answer = await self._govern(request)
        if isinstance(answer, HttpResponseBase):
            return answer
        return self._rendered(wrapped, *self._told(answer))

    @property
    def allowed_methods(self) -> list[str]:
        return [self.door.options.get("method", "POST"), "OPTIONS"]

    def get_view_name(self) -> str:
        return self.door.machine.compiled.title

    def _told(self, answer: Answer) -> tuple[int, dict[str, Any], Headers]:
        """Status, body, headers."""
        headers = [("X-Request-ID", answer.request_id), ("Cache-Control", "no-store")]
        refusal = answer.refusal
        if refusal is None:
            return 202 if answer.is_begun else 200, answer.result or {}, headers
        headers += headers_of(refusal, self.door.accepted)
        status = TABLE[refusal.code].status
        if isinstance(refusal, WrongMethod):
            status = 405
            headers.append(("Allow", ", ".join(self.allowed_methods)))
        return status, {"error": refusal.as_dict(answer.request_id)}, headers

    async def _govern(self, request: HttpRequest) -> Answer | StreamingHttpResponse:
        """From the request to the answer, or to a response with each result; what is refused on
        the way is recorded too."""
        door = self.door
        presented = Presented.from_request(request)
        caller = Caller(anonymous(()), presented.client)
        request_id = request_id_of(request)
        try:
            if request.method != door.options.get("method", "POST"):
                raise WrongMethod(f"This surface answers {self.allowed_methods[0]}.")
            caller = await identify(presented, door.accepted, door.grant)
            if caller.principal.credential.kind == "session":
                await check_csrf(request)
            accepts = door.machine.compiled.accepts
            topic = _topic_of(request, accepts)
            if topic is not None and (route := routes.find("http", door.path)) is not None:
                since = last_event_id(request.headers.get("Last-Event-ID"))
                request_id = request_id or new_id()
                return await _as_events(
                    follow(route, caller, topic, since, request_id), request_id, ending=b""
                )
            coerced = request.method in WITHOUT_BODY
            value = _of_query(request, accepts) if coerced else _of_body(request, accepts)
        except Refusal as refusal:
            return await note(door, caller, event="message", refusal=refusal, request_id=request_id)
        if door.machine.program.is_stream and wants_events(request):
            request_id = request_id or new_id()
            answers = govern_stream(door, caller, value, coerced=coerced, request_id=request_id)
            return await _as_events(answers, request_id, ending=event_text(b"{}", event="end"))
        return await govern(door, caller, value, coerced=coerced, request_id=request_id)


async def _as_events(
    items: AsyncGenerator[Answer, None] | AsyncGenerator[str | Answer, None],
    request_id: str,
    ending: bytes,
) -> Answer | StreamingHttpResponse:
    """Answers, or events that are texts already. What is refused before the first of them is an
    ordinary answer."""
    stream = EventStream[str | Answer](items, _event_of, ending=ending)
    first = await stream.first()
    if isinstance(first, Answer) and first.refusal is not None:
        return first
    response = stream.response()
    response["X-Request-ID"] = request_id
    return response


def _event_of(item: str | Answer) -> bytes:
    if isinstance(item, str):
        return item.encode()
    if item.refusal is None:
        return event_text(dumps(item.result))
    error = {"error": item.refusal.as_dict(item.request_id)}
    return event_text(dumps(error), event="error")


def _topic_of(request: HttpRequest, accepts: Schema) -> str | None:
    """The topic that somebody wants to follow; None when it is a question."""
    if request.method != "GET" or not wants_events(request):
        return None
    if any(item.name == "subscribe" for item in accepts.fields):
        return None
    return request.GET.get("subscribe")


def _of_query(request: HttpRequest, accepts: Schema) -> dict[str, Any]:
    """The query string by the types of ``accepts``; credentials in it are not input."""
    names = {item.name for item in accepts.fields}
    pairs = {
        name: values
        for name, values in request.GET.lists()
        if name in names or name not in CREDENTIAL_PARAMETERS
    }
    return accepts.coerce(pairs)


def _of_body(request: HttpRequest, accepts: Schema) -> dict[str, Any]:
    kind = (request.content_type or "application/json").lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise Refusal(Code.INVALID_JSON, f"Send application/json; this is {kind}.")
    try:
        return accepts.loads(request.body)
    except RequestDataTooBig:
        raise Refusal(Code.TOO_LARGE, "The request's body is too large.") from None
