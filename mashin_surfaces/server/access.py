"""What may stand in a log line: addresses without the credentials in their query strings."""

from __future__ import annotations

from urllib.parse import unquote_plus

#: Query parameters that carry credentials.
SECRET_PARAMETERS = frozenset({"token", "api_key", "ticket"})


def redacted(address: str) -> str:
    """The path and query string with the value of every secret parameter as ``…``."""
    path, mark, query = address.partition("?")
    if not mark:
        return address
    pairs = []
    for pair in query.split("&"):
        name, equals, _ = pair.partition("=")
        secret = equals and unquote_plus(name).strip().lower() in SECRET_PARAMETERS
        pairs.append(f"{name}=…" if secret else pair)
    return f"{path}?{'&'.join(pairs)}"
