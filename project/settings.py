"""Settings of the reference project: everything from the environment, sane on a laptop.

===========================  ====================================================================
``SECRET_KEY``               required unless ``DEBUG``
``DEBUG``                    0
``ALLOWED_HOSTS``            127.0.0.1,localhost,[::1]
``DATABASE_URL``             SQLite in the project's folder
``REDIS_URL``                empty: the in-memory channel layer, for one process only
``CELERY_BROKER_URL``        empty: runs stay in the server's processes
``MASHIN_MODULES``           modules with effects and tools, comma separated
``MASHIN_ASK``               model, or assume: answer with what the machine's author assumed
``BEHIND_TLS``               0; 1: the site is reached by https alone, through a proxy that ends
                             TLS and sets ``X-Forwarded-Proto`` itself
``CSRF_TRUSTED_ORIGINS``     origins besides the site's own that may post forms
``LOG_LEVEL``                INFO
===========================  ====================================================================
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()


def _secret_key(debug: bool) -> str:
    key: str = env.str("SECRET_KEY", default="")
    if key:
        return key
    if debug:
        return "insecure-key-for-development-alone-insecure-key-for-development"
    raise ImproperlyConfigured(
        "SECRET_KEY is not set. Set the environment variable to a long random text that stays the "
        "same; one is made by: python -c 'import secrets; print(secrets.token_urlsafe(64))'. On "
        "your own machine, DEBUG=1 or `make run` does without."
    )


def _database(url: str) -> dict[str, Any]:
    """Django's settings for a database URL; SQLite gets the options that a server needs."""
    config: dict[str, Any] = dict(env.db_url_config(url))
    if config["ENGINE"] == "django.db.backends.sqlite3":
        config["OPTIONS"] = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 10,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        }
    else:
        # Under ASGI each request has a thread of its own: connections that outlive it pile up.
        # The ledger's writer keeps its one open all the same.
        config.setdefault("CONN_MAX_AGE", 0)
    return config


def _channel_layer(redis_url: str) -> dict[str, Any]:
    """Redis pub/sub between processes; without a URL, memory within this one."""
    if not redis_url:
        return {"BACKEND": "channels.layers.InMemoryChannelLayer"}
    return {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [redis_url]},
    }


DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = _secret_key(DEBUG)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]"])

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "rest_framework",
    "mashin_surfaces",
    "project",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "project.urls"
ASGI_APPLICATION = "project.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = {
    "default": _database(env("DATABASE_URL", default=f"sqlite:///{BASE_DIR / 'db.sqlite3'}"))
}
CHANNEL_LAYERS = {"default": _channel_layer(env("REDIS_URL", default=""))}
CELERY_BROKER_URL = env("CELERY_BROKER_URL", default="")
# Nodes may take minutes: none waits behind another while a worker elsewhere is idle.
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
# The browser's Accept-Language chooses among these; who asks for none of them reads English.
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("de", "Deutsch"), ("ko", "한국어")]
LOCALE_PATHS = [BASE_DIR / "locale"]
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
LOGIN_URL = "admin:login"

# --- Security ------------------------------------------------------------------------------------
# Plain http stays possible without DEBUG: on loopback, and between a proxy and us. One variable
# says that people come by https; each setting can be overruled by a variable of its own name.
BEHIND_TLS = env.bool("BEHIND_TLS", default=False)
SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=BEHIND_TLS)
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]
SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", default=31_536_000 if BEHIND_TLS else 0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.bool("SECURE_HSTS_INCLUDE_SUBDOMAINS", default=BEHIND_TLS)
SECURE_HSTS_PRELOAD = env.bool("SECURE_HSTS_PRELOAD", default=BEHIND_TLS)
SESSION_COOKIE_SECURE = env.bool("SESSION_COOKIE_SECURE", default=BEHIND_TLS)
CSRF_COOKIE_SECURE = env.bool("CSRF_COOKIE_SECURE", default=BEHIND_TLS)
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if BEHIND_TLS else None
X_FRAME_OPTIONS = "DENY"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"},
    },
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": "line"},
    },
    "root": {"handlers": ["stderr"], "level": env("LOG_LEVEL", default="INFO").upper()},
    # Django's own handlers would say everything twice.
    "loggers": {
        **{name: {"handlers": [], "propagate": True} for name in ("django", "django.server")},
        "daphne": {"level": "WARNING"},  # `serve` says itself where it listens
        # A traceback for every second without Redis; our hub says it once, and when it is over.
        "channels_redis.pubsub": {"level": "CRITICAL"},
    },
}

MASHIN_SURFACES: dict[str, Any] = {
    "ASK": env("MASHIN_ASK", default="model"),
    "MODULES": env.list("MASHIN_MODULES", default=[]),
    "RUNS": {"RUNNER": "celery" if CELERY_BROKER_URL else "process"},
}
