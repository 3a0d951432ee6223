"""The reference project as an ASGI application."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
django_application = get_asgi_application()

from django.conf import settings  # noqa: E402  the apps must be loaded first

from mashin_surfaces.asgi import with_surfaces  # noqa: E402

if settings.CELERY_BROKER_URL:  # nodes of runs are sent through this app
    from . import celery  # noqa: F401

application = with_surfaces(django_application)
