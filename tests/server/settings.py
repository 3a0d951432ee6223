"""Settings with which ``serve`` runs the small applications of ``apps.py``, and nothing else."""

from __future__ import annotations

SECRET_KEY = "only-for-tests"
ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = ["django.contrib.staticfiles"]
STATIC_URL = "static/"
USE_TZ = True
ASGI_APPLICATION = "tests.server.apps.application"
