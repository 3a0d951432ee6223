"""The peers' project: an ordinary Django; middleware, channel layer, database are as ours."""

from __future__ import annotations

from project.settings import CHANNEL_LAYERS, DATABASES, MIDDLEWARE, SECRET_KEY

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
ROOT_URLCONF = "benchmarks.peers.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
__all__ = ["CHANNEL_LAYERS", "DATABASES", "MIDDLEWARE", "SECRET_KEY"]
LOGGING_CONFIG = None
