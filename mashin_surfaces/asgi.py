"""``with_surfaces``: all that a project's ``asgi.py`` needs.

::

    application = with_surfaces(get_asgi_application())
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import sync_to_async

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[Any, Any, Any], Awaitable[None]]


def with_surfaces(django_application: Application) -> Application:
    """An ASGI application: websockets go to the surfaces, everything else to Django.

    A websocket path that is no surface is refused with 404. Call it after
    ``get_asgi_application()``, which loads the apps.
    """
    from .exceptions import Code, Refusal
    from .panels.clock import panel_clock
    from .rooms.hub import hub
    from .runs.engine import engine
    from .surfaces.denial import deny
    from .surfaces.panel_socket import panel_of, serve_panel
    from .surfaces.routes import routes
    from .surfaces.run_socket import run_of, serve_run
    from .surfaces.websocket import consumer_for
    from .timers.clock import clock

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if not routes.is_ready:
            try:
                await sync_to_async(routes.prepare, thread_sensitive=False)()
            except Refusal as unready:
                if scope["type"] == "websocket":
                    await receive()
                    await deny(scope, send, unready)
                    return
        hub().start()
        clock.start()
        panel_clock().start()
        engine().start()
        if scope["type"] == "websocket":
            route = routes.find("websocket", scope["path"])
            if route is None and (panel := panel_of(scope["path"])) is not None:
                await serve_panel(panel, scope, receive, send)
                return
            if route is None and (run := run_of(scope["path"])) is not None:
                await serve_run(run, scope, receive, send)
                return
            if route is None:
                await receive()
                refusal = Refusal(Code.NOT_FOUND, "There is no websocket surface on this path.")
                await deny(scope, send, refusal)
                return
            await consumer_for(route)()(scope, receive, send)
            return
        await django_application(scope, receive, send)

    return application
