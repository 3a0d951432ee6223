"""What a client presents, read from an ASGI scope or a Django request; nothing is verified here.

Places: the ``Authorization`` header (``Bearer``, ``Api-Key``), the query (``token``, ``api_key``),
a subprotocol ``bearer.<token>`` and the session cookie.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl

from django.conf import settings as django_settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, parse_cookie

from .client import client_address

#: How an API key starts, wherever it stands.
KEY_PREFIX = "msk_"
#: Query parameters that carry credentials; they are no input and stand in no log.
CREDENTIAL_PARAMETERS = frozenset({"token", "api_key", "ticket"})
#: A subprotocol that carries a token: a browser can set no header on a websocket.
BEARER = "bearer."
#: The subprotocol that says nothing, for clients that must offer one.
PLAIN = "mashin"

TokenKind = Literal["jwt", "api_key"]
#: The scheme of ``Authorization`` (lower case) or the query parameter → what it should carry.
_SCHEMES: dict[str, TokenKind] = {"bearer": "jwt", "api-key": "api_key"}
_PARAMETERS: dict[str, TokenKind] = {"token": "jwt", "api_key": "api_key"}


@dataclass(frozen=True, slots=True)
class Token:
    """A JWT or an API key, as it was sent."""

    kind: TokenKind
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Presented:
    """Everything by which a client says who it is.

    ``problem``: why what was sent can't be read; whoever authenticates raises it. ``client``: the
    address by the rule of ``TRUSTED_PROXIES``. ``origin``: None when the client sent none.
    ``is_upgrade``: a websocket handshake. ``request``: where Django knows the session's user.
    """

    token: Token | None = None
    problem: str | None = None
    session_key: str | None = field(default=None, repr=False)
    origin: str | None = None
    host: str = ""
    client: str = ""
    is_upgrade: bool = False
    request: HttpRequest | None = field(default=None, repr=False)

    @classmethod
    def from_scope(cls, scope: Mapping[str, Any]) -> Presented:
        """From an ASGI scope (``http`` or ``websocket``); never raises."""
        headers: dict[str, list[str]] = {}
        for name, value in scope.get("headers") or ():
            headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        token, problem = _one_of(
            headers.get("authorization", ()),
            (scope.get("query_string") or b"").decode("latin-1"),
            scope.get("subprotocols") or (),
        )
        cookies = parse_cookie("; ".join(headers.get("cookie", ())))
        peer = scope.get("client") or ("",)
        origins = headers.get("origin")
        return cls(
            token=token,
            problem=problem,
            session_key=_session_key(cookies),
            # Several origins are none: a list of them equals no host.
            origin=None if origins is None else ", ".join(origins),
            host=_host(headers),
            client=client_address(str(peer[0] or ""), headers.get("x-forwarded-for", ())),
            is_upgrade=scope.get("type") == "websocket",
        )

    @classmethod
    def from_request(cls, request: HttpRequest) -> Presented:
        """From a Django request; the session is the one that Django's middleware found."""
        authorization = request.headers.get("Authorization")
        token, problem = _one_of(
            () if authorization is None else (authorization,),
            request.META.get("QUERY_STRING", ""),
            (),
        )
        try:
            host = request.get_host()
        except DisallowedHost:
            host = ""
        forwarded_for = request.headers.get("X-Forwarded-For")
        return cls(
            token=token,
            problem=problem,
            session_key=_session_key(request.COOKIES),
            origin=request.headers.get("Origin"),
            host=host,
            client=client_address(
                request.META.get("REMOTE_ADDR") or "",
                () if forwarded_for is None else (forwarded_for,),
            ),
            request=request,
        )

    @classmethod
    def bearer(cls, token: str, *, client: str = "") -> Presented:
        """A JWT or API key that came in a message."""
        read = _token("jwt", token)
        if isinstance(read, str):
            return cls(problem=read, client=client)
        return cls(token=read, client=client)


def answer_subprotocol(offered: Sequence[str], supported: Iterable[str]) -> str | None:
    """The subprotocol to accept with: never one that carries a token (it would be echoed).

    The first offered one that is supported, else ``mashin``. When a token was offered, else the
    first offered one that carries none: a browser ends a connection whose offers were all passed
    over, so a client offers a harmless name beside its token (``["bearer.eyJ…", "mashin"]``).
    """
    known = set(supported)
    harmless = [name for name in offered if not name.startswith(BEARER)]
    for name in harmless:
        if name in known:
            return name
    if PLAIN in harmless:
        return PLAIN
    return harmless[0] if harmless and len(harmless) < len(offered) else None


def _one_of(
    authorization: Sequence[str], query: str, subprotocols: Sequence[str]
) -> tuple[Token | None, str | None]:
    """The one token that was sent, wherever it stood, or what is wrong with them."""
    read = [_header(value) for value in authorization]
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=1000)
    except ValueError:
        return None, "The query string has more than 1,000 fields."
    read += [_token(_PARAMETERS[name], text) for name, text in pairs if name in _PARAMETERS]
    read += [_token("jwt", name[len(BEARER) :]) for name in subprotocols if name.startswith(BEARER)]
    tokens: set[Token] = set()
    for item in read:
        if isinstance(item, str):
            return None, item
        tokens.add(item)
    if len(tokens) > 1:
        return None, "Different credentials were sent in one request: send one."
    return (tokens.pop() if tokens else None), None


def _header(value: str) -> Token | str:
    scheme, _, text = value.strip().partition(" ")
    kind = _SCHEMES.get(scheme.lower())
    if kind is None:
        return 'The Authorization header is neither "Bearer <token>" nor "Api-Key <key>".'
    return _token(kind, text.strip())


def _token(kind: TokenKind, text: str) -> Token | str:
    """A token, or what is wrong with it. An API key is one wherever it stands."""
    if not text:
        return "The credential that was sent is empty."
    if not text.isascii() or not text.isprintable() or " " in text:
        return "The credential that was sent has characters that no credential has."
    return Token("api_key" if text.startswith(KEY_PREFIX) else kind, text)


def _session_key(cookies: Mapping[str, str]) -> str | None:
    key = cookies.get(django_settings.SESSION_COOKIE_NAME, "")
    # A quoted cookie can spell any byte; no session has such a name, and no database wants it.
    return key if key and key.isascii() and key.isprintable() else None


def _host(headers: Mapping[str, list[str]]) -> str:
    """The host that was asked; empty when it is not said, or said twice."""
    if django_settings.USE_X_FORWARDED_HOST and "x-forwarded-host" in headers:
        hosts = headers["x-forwarded-host"]
    else:
        hosts = headers.get("host", [])
    return hosts[0] if len(hosts) == 1 else ""
