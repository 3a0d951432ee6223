"""Surfaces over HTTP: which URL is one, and which view answers it.

``urls.py`` has one pattern; its converter matches only paths where a surface lives now, so that
everything else falls through to the project's other URLs and to its 404.
"""

from __future__ import annotations

from collections.abc import Awaitable

from django.http import HttpRequest, HttpResponseBase, JsonResponse

from ..exceptions import Code, Refusal
from ..governance.door import Door
from ..governance.errors import TABLE
from ..identity.presented import Presented
from .api import SurfaceApi
from .bus_socket import explain_bus
from .connection import dialect_of
from .denial import headers_of
from .describe import describe_surface
from .entrance import enter
from .page import page
from .routes import Route, routes

api = SurfaceApi.as_view()


class SurfaceConverter:
    """The path converter ``surface``: a live surface's path to its route."""

    regex = ".*"

    def to_python(self, value: str) -> Route | Refusal:
        try:
            routes.prepare()
        except Refusal as refusal:  # nobody can say yet which paths are surfaces
            return refusal
        path = f"/{value}"
        route = routes.find("http", path) or routes.find("websocket", path)
        if route is None or route.door is None:
            raise ValueError(f"{path} is no surface.")
        return route

    def to_url(self, value: Route | str) -> str:
        path = value if isinstance(value, str) else value.path
        return path.removeprefix("/")


async def surface(request: HttpRequest, route: Route | Refusal) -> HttpResponseBase:
    """An access by HTTP: to an API, to a page, or a question about a websocket."""
    if isinstance(route, Refusal):
        return refused(route)
    door = route.door
    if door is None:
        return refused(Refusal(Code.NOT_FOUND, "This surface is gone."))
    if door.kind == "api":
        answering: Awaitable[HttpResponseBase] = api(request, door=door)  # type: ignore[assignment]  # our dispatch is asynchronous
        return await answering
    if door.kind == "page":
        return await page(request, door)
    return await explain(request, route)


surface.csrf_exempt = True  # type: ignore[attr-defined]  # each view checks session credentials itself


async def explain(request: HttpRequest, route: Route) -> HttpResponseBase:
    """A websocket path asked by plain HTTP: the refusal that the upgrade would get, else 426.

    Browsers hide from scripts why an upgrade was refused; this is where they can ask.
    """
    door = route.door
    if door is None:
        return refused(Refusal(Code.NOT_FOUND, "This surface is gone."))
    presented, described = Presented.from_request(request), describe_surface(door)
    if dialect_of(door) == "incubator":  # the rights in the namespace count there
        asked = request.META.get("QUERY_STRING", "")
        answer, described["scopes"] = await explain_bus(door, presented, asked)
    else:
        answer, _ = await enter(door, presented, event="describe")
    if answer.refusal is not None:
        return refused(answer.refusal, answer.request_id, door)
    response = JsonResponse(
        {
            "error": {
                "code": "upgrade_required",
                "message": "This is a websocket: connect with an upgrade (RFC 6455).",
                "request_id": answer.request_id,
            },
            "surface": described,
        },
        status=426,
    )
    response["Upgrade"] = "websocket"
    response["Connection"] = "Upgrade"
    return response


def refused(refusal: Refusal, request_id: str = "", door: Door | None = None) -> JsonResponse:
    """A refusal as ``{"error": {…}}`` with its status and headers."""
    response = JsonResponse(
        {"error": refusal.as_dict(request_id)}, status=TABLE[refusal.code].status
    )
    for name, value in headers_of(refusal, door.accepted if door else ()):
        response[name] = value
    return response
