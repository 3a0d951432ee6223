"""Whether a browser sent this from one of our own pages (RFC 6454).

A session cookie comes along whoever made the browser connect; the Origin says who did.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from django.conf import settings as django_settings
from django.http.request import split_domain_port, validate_host

from ..conf import settings

_PORTS = {"http": 80, "https": 443}
#: As Django's: where no host is named and DEBUG is on.
_DEBUG_HOSTS = [".localhost", "127.0.0.1", "[::1]"]


def origin_is_ours(origin: str, host: str) -> bool:
    """Whether an ``Origin`` is the ``Host`` that was asked, or one of ``ALLOWED_ORIGINS``.

    Schemes are not compared: behind a proxy that ends TLS we do not know our own. A Host counts
    when ``ALLOWED_HOSTS`` has it. ``null`` is nobody's origin.
    """
    asked = _parts(origin)
    if asked is None:
        return False
    if any(asked == _parts(allowed) for allowed in settings.ALLOWED_ORIGINS):
        return True
    scheme, name, port = asked
    own_name, own_port = split_domain_port(host.lower())
    if not own_name or not validate_host(own_name, _allowed_hosts()):
        return False
    return (name, port) == (own_name.strip("[]"), int(own_port or _PORTS[scheme]))


def _allowed_hosts() -> list[str]:
    hosts = list(django_settings.ALLOWED_HOSTS)
    return hosts or (_DEBUG_HOSTS if django_settings.DEBUG else [])


def _parts(origin: str) -> tuple[str, str, int] | None:
    """Scheme, host and port; None for what is no origin of a web page."""
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _PORTS or not parts.hostname or "@" in parts.netloc:
        return None
    if f"{parts.scheme}://{parts.netloc}".lower() != origin.lower():
        return None
    return parts.scheme, parts.hostname, port or _PORTS[parts.scheme]
