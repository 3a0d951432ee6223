"""The reference project as an ASGI application."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
django_application = get_asgi_application()

from mashin_surfaces.asgi import with_surfaces  # noqa: E402  the apps must be loaded first

application = with_surfaces(django_application)
