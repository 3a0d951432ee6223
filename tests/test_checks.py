"""What the system checks say of a project's configuration."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from importlib.metadata import PackageNotFoundError
from types import ModuleType
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from django.core.checks import CheckMessage
from django.db import connections
from django.urls import include, path
from pytest_django import Settings

from mashin_surfaces import checks

SECRET = "long-enough-for-every-hash-of-the-family-of-hmac-and-sixty-four-bytes"


def judge(settings: Settings, **values: Any) -> list[CheckMessage]:
    settings.MASHIN_SURFACES = values
    return checks.check_settings(None)


def only(messages: list[CheckMessage]) -> CheckMessage:
    assert len(messages) == 1, messages
    return messages[0]


# -- MASHIN_SURFACES ------------------------------------------------------------------------------


def test_nothing_is_said_of_good_settings(settings: Settings) -> None:
    assert not judge(
        settings,
        ASK="assume",
        MODULES=["one.effects"],
        SCOPES={"perm:shop.change_order": ["machines:*"], "group:Operators": ("*",)},
        ALLOWED_ORIGINS=("https://app.example", "http://localhost:3000"),
        TRUSTED_PROXIES=["10.0.0.0/8", "::1"],
        JWT={"KEYS": [{"alg": "HS512", "key": SECRET, "kid": "a"}], "AUDIENCE": None},
        LEDGER={"ON_FAILURE": "answer", "WAIT": 3},
        ROOMS={"topic": {"COUNT": 0, "AGE": None}, "run": {}, "panel": {"AGE": 0.5}},
        TIMEOUT=5,
    )


def test_nothing_is_said_of_a_project_without_settings(settings: Settings) -> None:
    del settings.MASHIN_SURFACES
    assert not checks.check_settings(None)


def test_settings_that_are_no_dictionary(settings: Settings) -> None:
    settings.MASHIN_SURFACES = ["ASK"]
    assert only(checks.check_settings(None)).id == "mashin_surfaces.E001"


@pytest.mark.parametrize(
    ("values", "name", "hint"),
    [
        ({"TIMEOUTS": 3}, "TIMEOUTS", 'Did you mean "TIMEOUT"?'),
        ({"ask": "model"}, "ask", 'Did you mean "ASK"?'),
        ({"LEDGER": {"CONTENTS": "full"}}, "LEDGER.CONTENTS", 'Did you mean "CONTENT"?'),
        ({"colour": "red"}, "colour", "Known keys: ASK"),
        ({"ROOMS": {"topics": {}}}, "ROOMS.topics", 'Did you mean "topic"?'),
        ({"ROOMS": {"run": {"DAYS": 7}}}, "ROOMS.run.DAYS", "Known keys: COUNT, AGE"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_known_one(
    settings: Settings, values: dict[str, Any], name: str, hint: str
) -> None:
    message = only(judge(settings, **values))
    assert message.id == "mashin_surfaces.E002"
    assert f'"{name}"' in message.msg
    assert hint in str(message.hint)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"ASK": "guess"}, "ASK"),
        ({"MODULES": "one.effects"}, "MODULES"),
        ({"USER_SCOPES": "machines:run"}, "USER_SCOPES"),
        ({"TIMEOUT": "30"}, "TIMEOUT"),
        ({"TIMEOUT": 0}, "TIMEOUT"),
        ({"TIMEOUT": -1}, "TIMEOUT"),
        ({"EFFECT_THREADS": 0}, "EFFECT_THREADS"),
        ({"EFFECT_THREADS": 1.5}, "EFFECT_THREADS"),
        ({"LEDGER": "full"}, "LEDGER"),
        ({"LEDGER": {"QUEUE": 0}}, "LEDGER.QUEUE"),
        ({"LEDGER": {"CONTENT": "all"}}, "LEDGER.CONTENT"),
        ({"JWT": {"LEEWAY": -1}}, "JWT.LEEWAY"),
        ({"ROOMS": {"topic": 100}}, "ROOMS.topic"),
        ({"ROOMS": {"topic": {"COUNT": -1}}}, "ROOMS.topic.COUNT"),
        ({"ROOMS": {"panel": {"COUNT": 1.5}}}, "ROOMS.panel.COUNT"),
        ({"ROOMS": {"run": {"AGE": 0}}}, "ROOMS.run.AGE"),
        ({"ROOMS": {"incubator": {"AGE": "7d"}}}, "ROOMS.incubator.AGE"),
        ({"SCOPES": {"Operators": ["*"]}}, "SCOPES"),
        ({"SCOPES": {"group:Operators": "*"}}, "SCOPES"),
        ({"ALLOWED_ORIGINS": ["app.example"]}, "ALLOWED_ORIGINS"),
        ({"ALLOWED_ORIGINS": ["https://app.example/"]}, "ALLOWED_ORIGINS"),
        ({"TRUSTED_PROXIES": ["10.0.0.0/33"]}, "TRUSTED_PROXIES"),
    ],
)
def test_a_wrong_value_is_named(settings: Settings, values: dict[str, Any], name: str) -> None:
    message = only(judge(settings, **values))
    assert message.id == "mashin_surfaces.E003"
    assert f'"{name}' in message.msg
    assert message.hint


def test_all_that_is_wrong_is_told_at_once(settings: Settings) -> None:
    messages = judge(settings, ASK="guess", TIMEOUT=-1, LEDGER={"QUEUE": 0, "WHO": 1})
    assert len(messages) == 4


# -- JWT keys -------------------------------------------------------------------------------------


def pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> dict[str, str]:
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return {"key": public.decode(), "private_key": private.decode()}


def test_keys_of_every_family_are_fine(settings: Settings) -> None:
    keys = [
        {"alg": "HS256", "key": SECRET},
        {"alg": "ES256", **pem(ec.generate_private_key(ec.SECP256R1()))},
        {"alg": "EdDSA", **pem(ed25519.Ed25519PrivateKey.generate())},
    ]
    assert not judge(settings, JWT={"KEYS": keys})


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ({"alg": "none", "key": SECRET}, "'none', which is not taken"),
        ({"key": SECRET}, "'', which is not taken"),
        ({"alg": "HS256"}, 'has no "key"'),
        ({"alg": "HS256", "key": ""}, 'has no "key"'),
        ({"alg": "RS256", "key": "not a PEM"}, "can't be read as a key for RS256"),
        ({"alg": "EdDSA", "key": "not a PEM"}, "can't be read as a key for EdDSA"),
        ({"alg": "HS256", "key": SECRET, "colour": "red"}, "colour"),
    ],
)
def test_a_key_that_will_not_do(settings: Settings, key: dict[str, str], said: str) -> None:
    message = only(judge(settings, JWT={"KEYS": [key]}))
    assert message.id == "mashin_surfaces.E004"
    assert said in message.msg


def test_two_keys_of_one_name(settings: Settings) -> None:
    keys = [
        {"alg": "HS256", "key": SECRET, "kid": "a"},
        {"alg": "HS512", "key": SECRET, "kid": "a"},
    ]
    message = only(judge(settings, JWT={"KEYS": keys}))
    assert message.id == "mashin_surfaces.E004"
    assert 'the kid "a"' in message.msg


def test_a_secret_that_can_be_guessed(settings: Settings) -> None:
    message = only(judge(settings, JWT={"KEYS": [{"alg": "HS256", "key": "secret"}]}))
    assert message.id == "mashin_surfaces.W001"
    assert "32 bytes" in message.msg


def test_no_message_tells_a_secret(settings: Settings) -> None:
    """Checks are printed in logs of builds."""
    for alg in ("RS256", "HS256", "none"):
        key = {"alg": alg, "key": "hunter2", "private_key": "hunter3", "kid": "k"}
        messages = judge(settings, JWT={"KEYS": [key]})
        messages += judge(settings, JWT={"KEYS": [{**key, "key": b"hunter4"}]})
        assert len(messages) >= 2
        for message in messages:
            assert "hunter" not in message.msg + str(message.hint)


# -- the project around the app -------------------------------------------------------------------


@pytest.fixture
def database(settings: Settings) -> Iterator[dict[str, Any]]:
    """The default database's settings, to be changed; no connection is made."""
    config = connections["default"].settings_dict
    before = deepcopy(config)
    yield config
    config.clear()
    config.update(before)


SQLITE = "django.db.backends.sqlite3"
SERVER_OPTIONS = {"transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode = wal;"}


def test_sqlite_for_a_server(database: dict[str, Any]) -> None:
    database.update(ENGINE=SQLITE, OPTIONS=SERVER_OPTIONS)
    assert not checks.check_sqlite(None)


@pytest.mark.parametrize("missing", ["transaction_mode", "init_command"])
def test_sqlite_without_an_option(database: dict[str, Any], missing: str) -> None:
    options = {name: value for name, value in SERVER_OPTIONS.items() if name != missing}
    database.update(ENGINE=SQLITE, OPTIONS=options)
    message = only(checks.check_sqlite(None))
    assert message.id == "mashin_surfaces.W002"
    assert str(message.hint).count("PRAGMA") + str(message.hint).count("IMMEDIATE") >= 1
    assert f'"{missing}"' in str(message.hint)


def test_postgresql_needs_no_such_options(database: dict[str, Any]) -> None:
    database.update(ENGINE="django.db.backends.postgresql", OPTIONS={})
    assert not checks.check_sqlite(None)


CORE = "channels_redis.core.RedisChannelLayer"
PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"
URL = "redis://127.0.0.1:6379"


@pytest.mark.parametrize(
    ("backend", "hosts", "fine"),
    [
        (CORE, [URL], False),
        (CORE, None, False),
        (CORE, [{"address": URL}], False),
        (CORE, [{"address": URL, "socket_timeout": 5}], False),
        (CORE, [{"address": URL, "socket_timeout": None}, URL], False),
        (CORE, [{"address": URL, "socket_timeout": None}], True),
        (PUBSUB, [URL], True),
        ("channels.layers.InMemoryChannelLayer", None, True),
    ],
)
def test_a_core_layer_must_be_patient(
    settings: Settings, backend: str, hosts: Any, fine: bool
) -> None:
    config = {} if hosts is None else {"CONFIG": {"hosts": hosts}}
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, **config}}
    messages = checks.check_channel_layers(None)
    assert [message.id for message in messages] == ([] if fine else ["mashin_surfaces.W003"])


def test_an_old_daphne_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "version", lambda package: "4.2.1")
    assert only(checks.check_daphne(None)).id == "mashin_surfaces.W004"


def test_no_daphne_is_no_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(checks, "version", missing)
    assert not checks.check_daphne(None)


def test_the_installed_daphne_is_fine() -> None:
    assert not checks.check_daphne(None)


@pytest.mark.parametrize(
    ("patterns", "wanted"),
    [
        (lambda surfaces: [path("", surfaces)], []),
        (lambda surfaces: [path("", include([path("", surfaces)]))], []),
        (lambda surfaces: [], ["mashin_surfaces.W005"]),
        (lambda surfaces: [path("machines/", surfaces)], ["mashin_surfaces.W006"]),
    ],
)
def test_the_urls_must_be_included_at_the_root(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    patterns: Callable[[Any], list[Any]],
    wanted: list[str],
) -> None:
    module = ModuleType("shop_urls")
    module.urlpatterns = patterns(include("mashin_surfaces.urls"))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "shop_urls", module)
    settings.ROOT_URLCONF = "shop_urls"
    assert [message.id for message in checks.check_urls(None)] == wanted


@pytest.mark.parametrize(
    ("is_installed", "broker", "wanted"),
    [
        (False, "redis://broker", ["mashin_surfaces.E006"]),
        (True, "", ["mashin_surfaces.W007"]),
        (True, "redis://broker", []),
    ],
)
def test_celery_must_be_there_with_a_broker(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    is_installed: bool,
    broker: str,
    wanted: list[str],
) -> None:
    def version(name: str) -> str:
        if not is_installed:
            raise PackageNotFoundError(name)
        return "5.7"

    monkeypatch.setattr(checks, "version", version)
    settings.MASHIN_SURFACES = {"RUNS": {"RUNNER": "celery"}}
    settings.CELERY_BROKER_URL = broker
    assert [message.id for message in checks.check_runner(None)] == wanted
    settings.MASHIN_SURFACES = {}
    assert checks.check_runner(None) == []


@pytest.mark.parametrize("value", [None, ""])
def test_there_must_be_something_to_serve(settings: Settings, value: str | None) -> None:
    settings.ASGI_APPLICATION = value
    assert only(checks.check_asgi(None)).id == "mashin_surfaces.E005"


def test_the_reference_project_passes_every_check() -> None:
    from django.core.checks import run_checks

    assert run_checks(tags=[checks.TAG]) == []


def test_every_message_has_a_remedy(settings: Settings) -> None:
    settings.MASHIN_SURFACES = {
        "ASK": 1, "X": 1, "JWT": {"KEYS": [{"alg": "none", "key": "x"}]}, "TIMEOUT": 0,
    }  # fmt: skip
    messages = checks.check_settings(None)
    assert len(messages) == 4
    for message in messages:
        assert message.hint
        assert message.msg.endswith(".")
