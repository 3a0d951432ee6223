"""``manage.py issue_credential``."""

from __future__ import annotations

import io
from time import time
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from pytest_django import Settings

from mashin_surfaces.identity import api_keys, jwt
from mashin_surfaces.identity.models import ApiKey
from mashin_surfaces.identity.scopes import Scopes

pytestmark = pytest.mark.django_db


def run(*words: str) -> tuple[str, str]:
    """Standard output and standard error."""
    out, err = io.StringIO(), io.StringIO()
    call_command("issue_credential", *words, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def failed(*words: str) -> str:
    with pytest.raises(CommandError) as caught:
        run(*words)
    assert not ApiKey.objects.exists()
    return str(caught.value)


def test_a_token_stands_alone_on_standard_output() -> None:
    out, err = run("--kind", "jwt", "--name", "ci", "--scope", "a", "--scope", "b:*", "--ttl", "2h")
    [token] = out.splitlines()
    claims = jwt.verify(token)
    assert (claims.sub, claims.scopes) == ("ci", Scopes(["a", "b:*"]))
    assert claims.expires_at == pytest.approx(time() + 7200, abs=60)
    assert claims.id in err
    assert "Shown once" in err
    assert token not in err


def test_a_token_is_good_for_an_hour_when_nothing_is_said() -> None:
    out, _ = run("--kind", "jwt", "--name", "ci")
    assert jwt.verify(out.strip()).expires_at == pytest.approx(time() + 3600, abs=60)


def test_a_token_for_a_user_says_so(alice: User) -> None:
    out, err = run("--kind", "jwt", "--name", "alice", "--scope", "a")
    assert jwt.verify(out.strip()).must_be_user
    assert 'the user "alice"' in err


def test_a_token_names_the_agents_that_it_may_act_as() -> None:
    out, err = run("--kind", "jwt", "--name", "swarm", "--agent", "worker-*", "--agent", "judge")
    assert jwt.verify(out.strip()).agents == ("worker-*", "judge")
    assert "worker-*, judge" in err
    assert jwt.verify(run("--kind", "jwt", "--name", "ci")[0].strip()).agents is None


def test_a_key_stands_alone_on_standard_output() -> None:
    out, err = run("--kind", "api_key", "--name", "billing", "--scope", "machines:run")
    [text] = out.splitlines()
    key = api_keys.verify(text)
    assert (key.name, key.scopes, key.expires_at) == ("billing", ["machines:run"], None)
    assert key.id in err
    assert text not in err


def test_a_key_has_its_end_and_its_owner(alice: User) -> None:
    out, _ = run("--kind", "api_key", "--name", "laptop", "--owner", "alice", "--ttl", "30m")
    key = api_keys.verify(out.strip())
    assert key.owner == alice
    assert key.expires_at is not None
    assert key.expires_at.timestamp() == pytest.approx(time() + 1800, abs=60)


def test_a_credential_without_scopes_says_so() -> None:
    assert "--scope" in run("--kind", "jwt", "--name", "ci")[1]
    assert "--scope" not in run("--kind", "jwt", "--name", "ci", "--scope", "a")[1]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--kind", "ticket", "--name", "ci"], "jwt"),
        (["--kind", "jwt"], "--name"),
        (["--kind", "jwt", "--name", ""], "is no name"),
        (["--kind", "api_key", "--name", ""], "is no name"),
        (["--kind", "jwt", "--name", "ci", "--scope", "two words"], "is no scope"),
        (["--kind", "api_key", "--name", "ci", "--scope", ""], "is no scope"),
        (["--kind", "jwt", "--name", "ci", "--ttl", "soon"], "duration"),
        (["--kind", "jwt", "--name", "ci", "--ttl", "0s"], "duration"),
        (["--kind", "jwt", "--name", "ci", "--ttl", "367d"], "366 days"),
        (["--kind", "jwt", "--name", "ci", "--owner", "alice"], "--owner is for API keys"),
        (["--kind", "api_key", "--name", "ci", "--owner", "nobody"], "There is no user"),
        (["--kind", "api_key", "--name", "ci", "--agent", "a"], "Issue a token: --kind jwt"),
        (["--kind", "jwt", "--name", "ci", "--agent", ""], "names no agent"),
        (["--kind", "jwt", "--name", "ci", "--agent", "a\nb"], "names no agent"),
    ],
)
def test_what_is_wrong_is_said(words: list[str], sentence: str) -> None:
    assert sentence in failed(*words)


def test_an_inactive_user_gets_nothing(alice: User) -> None:
    alice.is_active = False
    alice.save()
    assert "not active" in failed("--kind", "jwt", "--name", "alice")
    assert "not active" in failed("--kind", "api_key", "--name", "x", "--owner", "alice")


def test_a_service_can_not_have_a_users_name(alice: User) -> None:
    assert "owner" in failed("--kind", "api_key", "--name", "alice")


def test_keys_that_can_not_sign_are_said(settings: Settings) -> None:
    keys: list[dict[str, Any]] = [{"alg": "RS256", "key": "no PEM"}]
    settings.MASHIN_SURFACES = {"JWT": {"KEYS": keys}}
    assert "RS256" in failed("--kind", "jwt", "--name", "ci")


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        call_command("issue_credential", "--help")
    assert "manage.py issue_credential --kind jwt --name ci" in capsys.readouterr().out
