"""The peers' project: an ordinary Django with the same middleware and database options as ours."""

from __future__ import annotations

import os

from project.settings import MIDDLEWARE, database

SECRET_KEY = "benchmarks-benchmarks-benchmarks-benchmarks-benchmarks"  # noqa: S105  local only
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "channels",
    "rest_framework",
    "benchmarks.peers",
]
__all__ = ["MIDDLEWARE"]
ROOT_URLCONF = "benchmarks.peers.urls"
DATABASES = {"default": database(os.environ["DATABASE_URL"])}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
LOGGING_CONFIG = None
