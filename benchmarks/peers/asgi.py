"""The peers' ASGI application, for plain Daphne."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.peers.settings")
django_application = get_asgi_application()

from benchmarks.peers.consumers import BareEcho, RecordedEcho  # noqa: E402  apps come first

application = ProtocolTypeRouter(
    {
        "http": django_application,
        "websocket": URLRouter(
            [path("ws/bare", BareEcho.as_asgi()), path("ws/recorded", RecordedEcho.as_asgi())]
        ),
    }
)
