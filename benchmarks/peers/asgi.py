"""The peers' ASGI application, for plain Daphne."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.peers.settings")
django_application = get_asgi_application()

from benchmarks.peers import consumers  # noqa: E402  apps come first

application = ProtocolTypeRouter(
    {
        "http": django_application,
        "websocket": URLRouter(
            [
                path("ws/bare", consumers.BareEcho.as_asgi()),
                path("ws/recorded", consumers.RecordedEcho.as_asgi()),
                path("ws/room", consumers.RoomMember.as_asgi()),
                path("ws/publish", consumers.Publisher.as_asgi()),
                path("ws/replay", consumers.Replay.as_asgi()),
            ]
        ),
    }
)
