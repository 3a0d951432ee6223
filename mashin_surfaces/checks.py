"""System checks of a project's configuration: what is wrong, and what to write instead.

``E``: it can't work. ``W``: it works here, and will disappoint under load or in production. What
a machine's definition may say is not judged here, but when it is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, version
from ipaddress import ip_network
from typing import Any, get_type_hints
from urllib.parse import urlsplit

import jwt
from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import DEFAULT_DB_ALIAS, connections
from django.urls import get_resolver
from jwt.exceptions import PyJWTError
from pydantic import TypeAdapter, ValidationError

from . import conf

#: The tag that ``manage.py check --tag mashin_surfaces`` takes.
TAG = "mashin_surfaces"
#: The signatures that a JWT key may be for.
ALGORITHMS = (
    *(f"{family}{bits}" for family in ("HS", "RS", "ES", "PS") for bits in (256, 384, 512)),
    "EdDSA",
)
#: RFC 7518, 3.2: an HMAC key has at least as many bits as the hash.
HMAC_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}
#: The smallest value of each number; ``exclusive`` ones must be greater.
MINIMUM: dict[str, tuple[float, bool]] = {
    "JWT.LEEWAY": (0, False),
    "LEDGER.QUEUE": (1, False),
    "LEDGER.WAIT": (0, True),
    **{f"ROOMS.{kind.name}.COUNT": (0, False) for kind in fields(conf.RoomsSettings)},
    **{f"ROOMS.{kind.name}.AGE": (0, True) for kind in fields(conf.RoomsSettings)},
    "TIMEOUT": (0, True),
    "EFFECT_THREADS": (1, False),
    "ROOM_THREADS": (1, False),
    "MAX_TOPICS": (1, False),
    "MAX_WAITING": (1, False),
    "SEND_TIMEOUT": (0, True),
    "WATCH_INTERVAL": (0, True),
    "PANELS.TIMEOUT": (0, True),
    "RUNS.MAX_PARALLEL": (1, False),
    "RUNS.MAX_RUNS": (1, False),
    "RUNS.NODE_TIMEOUT": (0, True),
    "RUNS.GATE_TIMEOUT": (0, True),
    "RUNS.WARN_AT": (0, True),
    "INCUBATORS.METRICS_EVERY": (0, True),
    "INCUBATORS.TIMEOUT": (0, True),
    "INCUBATORS.MAX_PARALLEL": (1, False),
}
SAFE_DAPHNE = (4, 2, 2)
#: redis-py gives a socket a read timeout of 5 seconds from this version on.
IMPATIENT_REDIS = (8,)

Apps = Sequence[AppConfig] | None


# -- MASHIN_SURFACES ------------------------------------------------------------------------------


@register(TAG)
def check_settings(app_configs: Apps, **_: Any) -> list[CheckMessage]:
    """Unknown keys, wrong types and values of ``MASHIN_SURFACES``."""
    given = getattr(settings, "MASHIN_SURFACES", {})
    if not isinstance(given, Mapping):
        return [
            Error(
                f"MASHIN_SURFACES is a {type(given).__name__}, not a dictionary.",
                hint='Write MASHIN_SURFACES = {"ASK": "model"}; conf.py lists the keys.',
                id="mashin_surfaces.E001",
            )
        ]
    return list(_judge(conf.Settings, given, ""))


def _judge(shape: type[Any], given: Mapping[Any, Any], prefix: str) -> Iterator[CheckMessage]:
    hints = get_type_hints(shape)
    names = [item.name for item in fields(shape)]
    for key, value in given.items():
        name = f"{prefix}{key}"
        if key not in names:
            yield _unknown(name, str(key), names)
        elif is_dataclass(hints[key]) and isinstance(value, Mapping):
            assert isinstance(hints[key], type)  # noqa: S101  a dataclass, not one of its objects
            yield from _judge(hints[key], value, f"{name}.")
        elif is_dataclass(hints[key]):
            yield _wrong(name, f"is a {type(value).__name__}, not a dictionary")
        else:
            yield from _judge_value(name, hints[key], value)


def _unknown(name: str, key: str, names: Sequence[str]) -> CheckMessage:
    spelled = {known.upper(): known for known in names}
    close = get_close_matches(key.upper(), spelled, n=1)
    meant = f'Did you mean "{spelled[close[0]]}"?' if close else None
    return Error(
        f'MASHIN_SURFACES has the key "{name}", which means nothing.',
        hint=meant or f"Known keys: {', '.join(names)}.",
        id="mashin_surfaces.E002",
    )


def _wrong(name: str, what: str, hint: str | None = None) -> CheckMessage:
    return Error(
        f'MASHIN_SURFACES: "{name}" {what}.',
        hint=hint or f'conf.py says what "{name}" may be.',
        id="mashin_surfaces.E003",
    )


def _judge_value(name: str, hint: Any, value: Any) -> Iterator[CheckMessage]:
    try:
        TypeAdapter(hint).validate_python(value, strict=True)
    except ValidationError as error:
        for item in error.errors(include_url=False):
            where = "".join(f"[{part!r}]" for part in item["loc"] if part in _parts_of(value))
            # A value under JWT may be a key, and what checks print is kept in logs.
            shown = "a value" if name.startswith("JWT.") else repr(item["input"])
            yield _wrong(f"{name}{where}", f"is {shown}: {_sentence(item['msg'])}")
        return
    if name in MINIMUM and value is not None:
        least, exclusive = MINIMUM[name]
        if value < least or (exclusive and value == least):
            bound = f"greater than {least:g}" if exclusive else f"at least {least:g}"
            yield _wrong(name, f"is {value!r}", f"It must be {bound}.")
    if (judge := VALUES.get(name)) is not None:
        yield from judge(value)


def _parts_of(value: Any) -> Sequence[Any]:
    """What can be put in brackets behind a value: its keys or indices."""
    if isinstance(value, Mapping):
        return list(value)
    return range(len(value)) if isinstance(value, list | tuple) else ()


def _sentence(text: str) -> str:
    return text[:1].lower() + text[1:].rstrip(".")


def _judge_scopes(value: Mapping[str, Sequence[str]]) -> Iterator[CheckMessage]:
    for source in value:
        if not re.fullmatch(r"perm:\w+\.\w+|group:.+", source):
            yield _wrong(
                f"SCOPES[{source!r}]",
                "names neither a permission nor a group",
                'Write "perm:app.codename" or "group:Name of the group".',
            )


def _judge_origins(value: Sequence[str]) -> Iterator[CheckMessage]:
    for origin in value:
        parts = urlsplit(origin)
        if parts.scheme not in {"http", "https"} or f"{parts.scheme}://{parts.netloc}" != origin:
            yield _wrong(
                "ALLOWED_ORIGINS",
                f"holds {origin!r}, which is no origin",
                'Write scheme and host alone, like "https://app.example".',
            )


def _judge_proxies(value: Sequence[str]) -> Iterator[CheckMessage]:
    for address in value:
        try:
            ip_network(address)
        except ValueError as error:
            yield _wrong(
                "TRUSTED_PROXIES",
                f"holds {address!r}, which is neither an address nor a network ({error})",
                'Write addresses like "10.0.0.7" or networks like "10.0.0.0/8".',
            )


# -- JWT keys -------------------------------------------------------------------------------------


def _judge_keys(value: Sequence[Mapping[str, str]]) -> Iterator[CheckMessage]:
    kids = [key["kid"] for key in value if "kid" in key]
    for kid in sorted({kid for kid in kids if kids.count(kid) > 1}):
        yield _bad_key(f'two keys have the kid "{kid}"', "Give each key a kid of its own.")
    for index, key in enumerate(value):
        name = f'"{key["kid"]}"' if "kid" in key else f"number {index + 1}"
        yield from _judge_key(f"the key {name}", key)


def _judge_key(name: str, key: Mapping[str, str]) -> Iterator[CheckMessage]:
    unknown = sorted(set(key) - {"alg", "key", "kid", "private_key"})
    if unknown:
        yield _bad_key(
            f"{name} has {', '.join(unknown)}, which mean nothing",
            "A key is {'alg', 'key', 'kid' (optional), 'private_key' (optional)}.",
        )
    alg = key.get("alg", "")
    if alg not in ALGORITHMS:
        yield _bad_key(
            f"{name} is for the algorithm {alg!r}, which is not taken",
            f"Write one of {', '.join(ALGORITHMS)}.",
        )
        return
    if not key.get("key"):
        yield _bad_key(
            f'{name} has no "key"',
            "Write the shared secret, or the public key as PEM.",
        )
        return
    algorithm = jwt.get_algorithm_by_name(alg)
    for part in ("key", "private_key"):
        if part not in key:
            continue
        try:
            algorithm.prepare_key(key[part])
        except (PyJWTError, ValueError, TypeError) as error:
            yield _bad_key(
                f'the "{part}" of {name} can\'t be read as a key for {alg} ({error})',
                "For HS* write the shared secret, for all others the key as PEM.",
            )
    if len(key["key"].encode()) < HMAC_BYTES.get(alg, 0):
        yield Warning(
            f'MASHIN_SURFACES: "JWT.KEYS": {name} is shorter than {HMAC_BYTES[alg]} bytes: '
            "it can be guessed from a token.",
            hint=f'Make one with: python -c "import secrets; '
            f'print(secrets.token_urlsafe({HMAC_BYTES[alg]}))"',
            id="mashin_surfaces.W001",
        )


def _bad_key(what: str, hint: str) -> CheckMessage:
    return Error(f'MASHIN_SURFACES: "JWT.KEYS": {what}.', hint=hint, id="mashin_surfaces.E004")


#: What is to be said of a value whose type is right.
VALUES: dict[str, Callable[[Any], Iterator[CheckMessage]]] = {
    "SCOPES": _judge_scopes,
    "ALLOWED_ORIGINS": _judge_origins,
    "TRUSTED_PROXIES": _judge_proxies,
    "JWT.KEYS": _judge_keys,
}


# -- the project around the app -------------------------------------------------------------------


@register(TAG)
def check_runner(app_configs: Apps, **_: Any) -> list[CheckMessage]:
    """Celery executes nodes only where it is installed, and knows a broker."""
    if conf.settings.RUNS.RUNNER != "celery":
        return []
    try:
        version("celery")
    except PackageNotFoundError:
        return [
            Error(
                'MASHIN_SURFACES: "RUNS.RUNNER" is "celery", and Celery is not installed.',
                hint='Install it with: pip install "mashin-surfaces[celery]"',
                id="mashin_surfaces.E006",
            )
        ]
    if getattr(settings, "CELERY_BROKER_URL", ""):
        return []
    return [
        Warning(
            'MASHIN_SURFACES: "RUNS.RUNNER" is "celery", and CELERY_BROKER_URL is not set.',
            hint='Set it, like "redis://127.0.0.1:6379", if your Celery app reads it from there.',
            id="mashin_surfaces.W007",
        )
    ]


@register(TAG)
def check_sqlite(app_configs: Apps, **_: Any) -> list[CheckMessage]:
    """A server on SQLite needs WAL and IMMEDIATE, or its writers and readers fail each other."""
    config = connections[DEFAULT_DB_ALIAS].settings_dict
    if config.get("ENGINE") != "django.db.backends.sqlite3":
        return []
    options = config.get("OPTIONS", {})
    missing: list[str] = []
    if str(options.get("transaction_mode", "")).upper() != "IMMEDIATE":
        missing.append('"transaction_mode": "IMMEDIATE"')
    if not re.search(r"journal_mode\s*=\s*['\"]?wal", str(options.get("init_command", "")), re.I):
        missing.append('"init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"')
    if not missing:
        return []
    return [
        Warning(
            "The SQLite database is not set up for a server: accesses that write at the same "
            'moment fail with "database is locked".',
            hint=f'Write in DATABASES["{DEFAULT_DB_ALIAS}"]: "OPTIONS": {{{", ".join(missing)}}}.',
            id="mashin_surfaces.W002",
        )
    ]


@register(TAG)
def check_channel_layers(app_configs: Apps, **_: Any) -> list[CheckMessage]:
    """Since redis-py 8, the core layer's idle receive dies after 5 seconds."""
    if (_installed("redis") or ()) < IMPATIENT_REDIS:
        return []
    return [
        Warning(
            f'CHANNEL_LAYERS["{alias}"]: with redis-py 8, a host of RedisChannelLayer without '
            '"socket_timeout": None stops receiving after 5 idle seconds.',
            hint='Use "channels_redis.pubsub.RedisPubSubChannelLayer", or write each host as '
            '{"address": "redis://…", "socket_timeout": None}.',
            id="mashin_surfaces.W003",
        )
        for alias, layer in getattr(settings, "CHANNEL_LAYERS", {}).items()
        if layer.get("BACKEND", "") == "channels_redis.core.RedisChannelLayer"
        and not all(map(_is_patient, layer.get("CONFIG", {}).get("hosts") or [None]))
    ]


def _is_patient(host: Any) -> bool:
    return isinstance(host, Mapping) and host.get("socket_timeout", 0) is None


@register(TAG, Tags.security)
def check_daphne(app_configs: Apps, **_: Any) -> list[CheckMessage]:
    """Daphne before 4.2.2 has known vulnerabilities."""
    installed = _installed("daphne")
    if installed is None or installed >= SAFE_DAPHNE:
        return []
    return [
        Warning(
            f"Daphne {version('daphne')} is installed; versions before 4.2.2 have known "
            "vulnerabilities.",
            hint='Run: pip install --upgrade "daphne>=4.2.2"',
            id="mashin_surfaces.W004",
        )
    ]


def _installed(package: str) -> tuple[int, ...] | None:
    """The release numbers of an installed package, or None."""
    try:
        found = re.match(r"\d+(?:\.\d+)*", version(package))
    except PackageNotFoundError:
        return None
    return tuple(int(part) for part in found.group().split(".")) if found else None


@register(TAG, Tags.urls)
def check_urls(app_configs: Apps, **_: Any) -> list[CheckMessage]:
    """API and page surfaces are reached through the app's URLs, at the root of the site."""
    if not getattr(settings, "ROOT_URLCONF", None):
        return []
    resolver = get_resolver()
    hint = 'Write as the last of urlpatterns: path("", include("mashin_surfaces.urls")).'
    if "mashin_surfaces" not in resolver.app_dict:
        return [
            Warning(
                f"{settings.ROOT_URLCONF} does not include mashin_surfaces.urls: no API, no page "
                "and no /healthz will be found.",
                hint=hint,
                id="mashin_surfaces.W005",
            )
        ]
    prefix = resolver.namespace_dict.get("mashin_surfaces", ("", None))[0]
    if prefix:
        return [
            Warning(
                f'{settings.ROOT_URLCONF} includes mashin_surfaces.urls under "{prefix}": a '
                "surface's path is the whole path, so none will be found where it says.",
                hint=hint,
                id="mashin_surfaces.W006",
            )
        ]
    return []


@register(TAG)
def check_asgi(app_configs: Apps, **_: Any) -> list[CheckMessage]:
    """`serve` starts the application that ASGI_APPLICATION names."""
    if getattr(settings, "ASGI_APPLICATION", None):
        return []
    return [
        Error(
            "ASGI_APPLICATION is not set: `manage.py serve` does not know what to serve.",
            hint='Write ASGI_APPLICATION = "project.asgi.application", and in that module: '
            "application = with_surfaces(get_asgi_application()).",
            id="mashin_surfaces.E005",
        )
    ]
