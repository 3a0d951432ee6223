"""Tokens: what is taken, and everything that is not. No database."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable
from time import time
from typing import Any

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from django.core.exceptions import ImproperlyConfigured
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from mashin_surfaces.exceptions import Code, Refusal
from mashin_surfaces.identity import jwt
from mashin_surfaces.identity.scopes import Scopes
from mashin_surfaces.identity.secret_keys import derived_keys

RUN = Scopes(["machines:run"])
SHARED = "a-shared-secret-of-more-than-sixty-four-bytes-for-every-hmac-there-is"


def pem_pair(private: Any) -> tuple[str, str]:
    """Public and private key as PEM."""
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    secret = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return public.decode(), secret.decode()


RSA = pem_pair(rsa.generate_private_key(public_exponent=65537, key_size=2048))
CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
PAIRS = (
    {f"{family}{bits}": RSA for family in ("RS", "PS") for bits in (256, 384, 512)}
    | {alg: pem_pair(ec.generate_private_key(curve)) for alg, curve in CURVES.items()}
    | {"EdDSA": pem_pair(ed25519.Ed25519PrivateKey.generate())}
)


def part(value: object) -> str:
    """One part of a token."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def made(
    payload: object = None, header: object = None, key: bytes | None = None, **claims: Any
) -> str:
    """A token by hand, HS256 with our derived key: what PyJWT would not write."""
    body = {"sub": "ci", "exp": int(time()) + 60, **claims} if payload is None else payload
    signed = f"{part(header or {'alg': 'HS256', 'typ': 'JWT'})}.{part(body)}"
    digest = hmac.new(key or derived_keys("jwt")[0], signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def refused(token: str) -> str:
    """The sentence with which a token is refused."""
    with pytest.raises(Refusal) as caught:
        jwt.verify(token)
    assert caught.value.code is Code.UNAUTHENTICATED
    assert caught.value.message.endswith(".")
    return caught.value.message


def test_what_was_signed_is_verified() -> None:
    token, claims = jwt.sign("ci", Scopes(["machines:run", "panels:read"]), 60)
    verified = jwt.verify(token)
    assert verified.sub == "ci"
    assert verified.scopes == Scopes(["machines:run", "panels:read"])
    assert (verified.expires_at, verified.id) == (claims["exp"], claims["jti"])
    assert not verified.must_be_user


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
def test_a_shared_secret_signs_and_verifies(alg: str, settings: Settings) -> None:
    settings.MASHIN_SURFACES = {"JWT": {"KEYS": [{"alg": alg, "key": SHARED}]}}
    token, _ = jwt.sign("ci", RUN, 60)
    assert pyjwt.get_unverified_header(token)["alg"] == alg
    assert jwt.verify(token).sub == "ci"


@pytest.mark.parametrize("alg", sorted(PAIRS))
def test_a_key_pair_signs_and_verifies(alg: str, settings: Settings) -> None:
    public, private = PAIRS[alg]
    settings.MASHIN_SURFACES = {
        "JWT": {"KEYS": [{"alg": alg, "key": public, "private_key": private, "kid": "now"}]}
    }
    token, _ = jwt.sign("ci", RUN, 60)
    assert pyjwt.get_unverified_header(token)["kid"] == "now"
    assert jwt.verify(token).sub == "ci"
    refused(token[:-8] + ("AAAAAAAA" if not token.endswith("AAAAAAAA") else "BBBBBBBB"))


def test_a_public_key_alone_verifies_and_does_not_sign(settings: Settings) -> None:
    public, private = PAIRS["ES256"]
    settings.MASHIN_SURFACES = {"JWT": {"KEYS": [{"alg": "ES256", "key": public}]}}
    token = pyjwt.encode({"sub": "ci", "exp": int(time()) + 60}, private, algorithm="ES256")
    assert jwt.verify(token).sub == "ci"
    with pytest.raises(ImproperlyConfigured, match="private_key"):
        jwt.sign("ci", RUN, 60)


# -- attacks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", "", None, 7, ["HS256"]])
def test_an_unsigned_token_is_refused(alg: object) -> None:
    body = part({"sub": "ci", "exp": int(time()) + 60})
    refused(f"{part({'alg': alg})}.{body}.")
    signature = made().rpartition(".")[2]
    refused(f"{part({'alg': alg})}.{body}.{signature}")


def test_a_public_key_is_not_taken_for_a_shared_secret(settings: Settings) -> None:
    settings.MASHIN_SURFACES = {"JWT": {"KEYS": [{"alg": "RS256", "key": RSA[0]}]}}
    for key in (RSA[0], RSA[0].strip()):
        assert "algorithm" in refused(made(key=key.encode()))


def test_the_algorithm_is_the_keys_not_the_tokens(settings: Settings) -> None:
    settings.MASHIN_SURFACES = {"JWT": {"KEYS": [{"alg": "RS256", "key": RSA[0]}]}}
    claims = {"sub": "ci", "exp": int(time()) + 60}
    assert jwt.verify(pyjwt.encode(claims, RSA[1], algorithm="RS256")).sub == "ci"
    for alg in ("RS384", "RS512", "PS256"):
        assert "algorithm" in refused(pyjwt.encode(claims, RSA[1], algorithm=alg))


def test_a_key_of_another_algorithm_under_the_same_kid_is_refused(settings: Settings) -> None:
    keys = [
        {"alg": "RS256", "key": RSA[0], "kid": "a"},
        {"alg": "HS256", "key": SHARED, "kid": "b"},
    ]
    settings.MASHIN_SURFACES = {"JWT": {"KEYS": keys}}
    token = made(header={"alg": "HS256", "kid": "a"}, key=SHARED.encode())
    assert "algorithm" in refused(token)


@pytest.mark.parametrize(
    "make",
    [
        lambda: "",
        lambda: "one",
        lambda: "two.parts",
        lambda: made().rpartition(".")[0],
        lambda: made() + ".more",
        lambda: "a.b.c",
        lambda: "..",
        lambda: made() + "\n",
        lambda: made().replace(".", ". "),
        lambda: f"{part([])}.{part({})}.c2ln",
        lambda: f"{part('text')}.{part({})}.c2ln",
        lambda: "x" * (9 * 1024),
        lambda: made(scope="s" * 9 * 1024),
        lambda: made()[:-6] + "AAAAAA",
        lambda: made(key=b"another key of at least 32 bytes!"),
        lambda: made(header={"alg": "HS512"}),
        lambda: made(header={"alg": "RS256"}),
        lambda: made(header={"alg": "HS256", "crit": ["exp"]}),
        lambda: made(header={"alg": "HS256", "b64": False}),
        lambda: made(header={"alg": "HS256", "kid": 7}),
        lambda: made(header={"alg": "HS256", "kid": {}}),
        lambda: made([]),
        lambda: made("text"),
        lambda: made({"sub": "ci"}),
        lambda: made({"exp": int(time()) + 60}),
        lambda: made(sub=""),
        lambda: made(sub=None),
        lambda: made(sub=7),
        lambda: made(sub=["ci"]),
        lambda: made(sub="x" * 151),
        lambda: made(sub="a\0b"),
        lambda: made(sub="\ud800"),
        lambda: made(sub=" ci"),
        lambda: made(sub="anonymous"),
        lambda: made(exp=None),
        lambda: made(exp=int(time()) - 1),
        lambda: made(exp=0),
        lambda: made(exp=-1),
        lambda: made(exp="soon"),
        lambda: made(exp=str(int(time()) + 60)),
        lambda: made(exp=True),
        lambda: made(exp=float("nan")),
        lambda: made(exp=float("inf")),
        lambda: made(exp=10**400),
        lambda: made(exp=[]),
        lambda: made(nbf=int(time()) + 60),
        lambda: made(nbf="x"),
        lambda: made(iat=int(time()) + 60),
        lambda: made(iat="x"),
        lambda: made(aud="someone"),
        lambda: made(jti=7),
        lambda: made(scope=["machines:run"]),
        lambda: made(scope=None),
        lambda: made(scopes="machines:run"),
        lambda: made(scopes=[7]),
        lambda: made(scopes=["two words"]),
        lambda: made(scopes={"*": 1}),
    ],
)
def test_a_bad_token_is_refused_in_a_sentence(make: Callable[[], str]) -> None:
    refused(make())


def test_a_header_or_payload_nested_without_end_is_refused() -> None:
    deep = base64.urlsafe_b64encode(b"[" * 5000).rstrip(b"=").decode()
    refused(f"{deep}.{part({})}.c2ln")
    signed = f"{part({'alg': 'HS256'})}.{deep}"
    digest = hmac.new(derived_keys("jwt")[0], signed.encode(), hashlib.sha256).digest()
    refused(f"{signed}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}")


def test_a_number_of_ten_thousand_digits_is_refused() -> None:
    header = base64.urlsafe_b64encode(b'{"alg":' + b"1" * 5000 + b"}").rstrip(b"=").decode()
    refused(f"{header}.{part({})}.c2ln")


@given(place=st.integers(min_value=0), letter=st.sampled_from("ABCxyz019-_."))
def test_a_token_with_one_character_changed_is_refused(place: int, letter: str) -> None:
    token = made()
    place %= len(token) - 1  # the last one has bits that mean nothing
    changed = token[:place] + letter + token[place + 1 :]
    if changed != token:
        refused(changed)


@given(text=st.text(max_size=200))
def test_no_text_is_a_token(text: str) -> None:
    refused(text)


def test_a_refusal_shows_nothing_of_key_or_token() -> None:
    token = made(sub="")
    shown = refused(token)
    assert token not in shown
    assert not re.search(r"[0-9a-f]{16}", shown)


# -- claims ---------------------------------------------------------------------------------------


def test_scopes_come_as_text_and_as_a_list() -> None:
    assert jwt.verify(made(scope="a b  c")).scopes == Scopes(["a", "b", "c"])
    assert jwt.verify(made(scopes=["a", "b"])).scopes == Scopes(["a", "b"])
    assert jwt.verify(made(scope="a", scopes=["b"])).scopes == Scopes(["a", "b"])
    assert jwt.verify(made()).scopes == Scopes()


def test_audience_and_issuer_are_wanted_when_set(settings: Settings) -> None:
    settings.MASHIN_SURFACES = {"JWT": {"AUDIENCE": "us", "ISSUER": "them"}}
    assert jwt.verify(jwt.sign("ci", RUN, 60)[0]).sub == "ci"
    assert jwt.verify(made(aud=["us", "others"], iss="them")).sub == "ci"
    assert "aud" in refused(made(iss="them"))
    assert "iss" in refused(made(aud="us"))
    assert "audience" in refused(made(aud="others", iss="them"))
    assert "issuer" in refused(made(aud="us", iss="others"))
    refused(made(aud="us", iss=["them"]))


def test_clocks_may_differ_by_the_leeway(settings: Settings) -> None:
    settings.MASHIN_SURFACES = {"JWT": {"LEEWAY": 30}}
    exp = int(time()) - 10
    assert jwt.verify(made(exp=exp)).expires_at == exp + 30
    assert jwt.verify(made(nbf=int(time()) + 10)).sub == "ci"
    assert "expired" in refused(made(exp=int(time()) - 40))


def test_a_token_without_an_id_is_known_by_its_digest() -> None:
    first, second = made(sub="a"), made(sub="b")
    assert jwt.verify(first).id != jwt.verify(second).id
    assert jwt.verify(first).id == jwt.verify(first).id
    assert len(jwt.verify(made(jti="x" * 65)).id) == 16


# -- keys -----------------------------------------------------------------------------------------


def test_keys_rotate_by_kid(settings: Settings) -> None:
    old = {"alg": "HS256", "key": SHARED + "old", "kid": "old"}
    new = {"alg": "HS256", "key": SHARED + "new", "kid": "new"}
    settings.MASHIN_SURFACES = {"JWT": {"KEYS": [old]}}
    token, _ = jwt.sign("ci", RUN, 60)
    settings.MASHIN_SURFACES = {"JWT": {"KEYS": [new, old]}}
    assert jwt.verify(token).sub == "ci"
    assert pyjwt.get_unverified_header(jwt.sign("ci", RUN, 60)[0])["kid"] == "new"
    settings.MASHIN_SURFACES = {"JWT": {"KEYS": [new]}}
    assert "not known" in refused(token)


def test_a_wrong_kid_does_not_reach_another_key(settings: Settings) -> None:
    keys = [{"alg": "HS256", "key": SHARED, "kid": "a"}]
    settings.MASHIN_SURFACES = {"JWT": {"KEYS": keys}}
    good = {"alg": "HS256", "kid": "a"}
    assert jwt.verify(made(header=good, key=SHARED.encode())).sub == "ci"
    assert jwt.verify(made(key=SHARED.encode())).sub == "ci"
    assert "not known" in refused(made(header={"alg": "HS256", "kid": "../a"}, key=SHARED.encode()))


def test_keys_without_kid_are_tried(settings: Settings) -> None:
    keys = [{"alg": "HS256", "key": SHARED + name} for name in ("one", "two")]
    settings.MASHIN_SURFACES = {"JWT": {"KEYS": keys}}
    assert jwt.verify(made(key=f"{SHARED}two".encode())).sub == "ci"
    assert "signature" in refused(made(key=f"{SHARED}three".encode()))


def test_a_changed_secret_key_keeps_tokens_while_it_is_a_fallback(settings: Settings) -> None:
    token, _ = jwt.sign("ci", RUN, 60)
    before = settings.SECRET_KEY
    settings.SECRET_KEY = "another secret key, as long as a secret key should be, at least"
    assert "signature" in refused(token)
    settings.SECRET_KEY_FALLBACKS = [before]
    assert jwt.verify(token).sub == "ci"
    settings.SECRET_KEY_FALLBACKS = []
    assert "signature" in refused(token)


@pytest.mark.parametrize(
    "key",
    [
        {},
        {"alg": "none", "key": "x"},
        {"alg": "HS256"},
        {"alg": "HS1", "key": SHARED},
        {"alg": "RS256", "key": "no PEM"},
        {"alg": "HS256", "key": RSA[0]},
    ],
)
def test_a_key_that_can_not_be_one_is_a_configuration_error(
    key: dict[str, str], settings: Settings
) -> None:
    settings.MASHIN_SURFACES = {"JWT": {"KEYS": [key]}}
    with pytest.raises(ImproperlyConfigured, match="KEYS") as caught:
        jwt.verify(made())
    assert "BEGIN" not in str(caught.value)


@pytest.mark.parametrize("name", ["", " ", "x" * 151, "anonymous", "a\nb"])
def test_no_token_is_signed_for_what_is_no_name(name: str) -> None:
    with pytest.raises(ValueError, match="is no name"):
        jwt.sign(name, RUN, 60)


def test_no_token_is_signed_that_is_too_long_to_be_taken() -> None:
    with pytest.raises(ValueError, match="fewer scopes"):
        jwt.sign("ci", Scopes(f"machines:run:{number}" for number in range(1000)), 60)
