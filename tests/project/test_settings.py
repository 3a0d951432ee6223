"""What the reference project makes of its environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
KEY = "a-long-and-random-key-for-one-test-only-0123456789-abcdefghijkl"


def python(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process that has no other variables than these."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **env},
        capture_output=True,
        text=True,
        check=False,
    )


def value(expression: str, **env: str) -> Any:
    """An expression over the settings, as JSON."""
    code = f"import json, project.settings as s; print(json.dumps({expression}, default=str))"
    done = python(code, **env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_without_a_secret_key_the_remedy_is_told() -> None:
    done = python("import project.settings")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "SECRET_KEY is not set" in last
    assert "make run" in last


def test_debug_needs_no_secret_key() -> None:
    assert value("s.DEBUG", DEBUG="1") is True


def test_debug_is_off_unless_it_is_asked_for() -> None:
    assert value("s.DEBUG", SECRET_KEY=KEY) is False


def test_sqlite_gets_the_options_of_a_server() -> None:
    database = value("s.DATABASES['default']", SECRET_KEY=KEY)
    assert database["ENGINE"] == "django.db.backends.sqlite3"
    assert database["NAME"] == str(ROOT / "db.sqlite3")
    assert database["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
    assert "journal_mode=WAL" in database["OPTIONS"]["init_command"]


def test_postgresql_connections_end_with_their_request() -> None:
    url = "postgres://ada:pass@127.0.0.1:5433/shop"
    database = value("s.DATABASES['default']", SECRET_KEY=KEY, DATABASE_URL=url)
    assert database["ENGINE"] == "django.db.backends.postgresql"
    assert (database["HOST"], database["PORT"], database["NAME"]) == ("127.0.0.1", 5433, "shop")
    assert database["CONN_MAX_AGE"] == 0


def test_redis_is_the_channel_layer_when_it_is_named() -> None:
    layer = value("s.CHANNEL_LAYERS['default']", SECRET_KEY=KEY, REDIS_URL="redis://127.0.0.1:1")
    assert layer["BACKEND"] == "channels_redis.pubsub.RedisPubSubChannelLayer"
    assert layer["CONFIG"]["hosts"] == ["redis://127.0.0.1:1"]


def test_without_redis_the_channel_layer_is_in_memory() -> None:
    layer = value("s.CHANNEL_LAYERS['default']", SECRET_KEY=KEY)
    assert layer == {"BACKEND": "channels.layers.InMemoryChannelLayer"}


def test_the_app_is_told_of_modules_and_of_assuming() -> None:
    made = value("s.MASHIN_SURFACES", SECRET_KEY=KEY, MASHIN_MODULES="a.b,c", MASHIN_ASK="assume")
    assert made == {"ASK": "assume", "MODULES": ["a.b", "c"], "RUNS": {"RUNNER": "process"}}


def test_nodes_are_executed_by_workers_where_there_is_a_broker() -> None:
    made = value("s.MASHIN_SURFACES['RUNS']", SECRET_KEY=KEY, CELERY_BROKER_URL="redis://127.0.0.1")
    assert made == {"RUNNER": "celery"}


COOKIES = "[s.SESSION_COOKIE_SECURE, s.CSRF_COOKIE_SECURE, s.SECURE_SSL_REDIRECT]"


def test_plain_http_works_unless_the_site_is_behind_tls() -> None:
    assert value(COOKIES, SECRET_KEY=KEY) == [False, False, False]
    assert value(COOKIES, SECRET_KEY=KEY, BEHIND_TLS="1") == [True, True, True]


def test_each_part_of_tls_can_be_overruled() -> None:
    made = value(COOKIES, SECRET_KEY=KEY, BEHIND_TLS="1", SECURE_SSL_REDIRECT="0")
    assert made == [True, True, False]


def test_the_forwarded_protocol_is_believed_only_behind_tls() -> None:
    assert value("s.SECURE_PROXY_SSL_HEADER", SECRET_KEY=KEY) is None
    assert value("s.SECURE_PROXY_SSL_HEADER", SECRET_KEY=KEY, BEHIND_TLS="1") is not None


@pytest.mark.parametrize("level", ["debug", "WARNING"])
def test_the_level_of_the_log_is_the_environments(level: str) -> None:
    assert value("s.LOGGING['root']['level']", SECRET_KEY=KEY, LOG_LEVEL=level) == level.upper()


def deploy_check(**env: str) -> subprocess.CompletedProcess[str]:
    words = "['manage.py', 'check', '--deploy', '--fail-level', 'WARNING']"
    code = (
        "import os, sys; os.environ['DJANGO_SETTINGS_MODULE'] = 'project.settings'\n"
        f"from django.core.management import execute_from_command_line as run; run({words})"
    )
    return python(code, **env)


def test_a_deployment_behind_tls_passes_djangos_own_check() -> None:
    done = deploy_check(SECRET_KEY=KEY, BEHIND_TLS="1", ALLOWED_HOSTS="app.example")
    assert done.returncode == 0, done.stderr


def test_a_deployment_without_tls_does_not() -> None:
    done = deploy_check(SECRET_KEY=KEY, ALLOWED_HOSTS="app.example")
    assert done.returncode == 1
    assert "security.W012" in done.stderr
