"""Texts with a form of their own: points in time, UUIDs, addresses. Each is checked, and written
in one way: two texts that mean the same moment or UUID come out alike.

The functions raise ``ValueError`` with what was expected.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Final
from uuid import UUID

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

_DATETIME: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_UUID: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.ASCII)
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`]+", re.ASCII)
_LABEL: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?", re.ASCII)
_LONGEST_HOSTNAME: Final = 253
SLUG_PATTERN: Final = r"^[-a-zA-Z0-9_]+$"
_SLUG: Final = re.compile(r"[-a-zA-Z0-9_]+", re.ASCII)


def rfc3339(moment: datetime) -> str:
    """In UTC with ``Z``; microseconds only where there are some."""
    if moment.tzinfo is None:
        raise ValueError("a date and time with its offset")
    try:
        return moment.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
    except OverflowError:
        raise ValueError("a date and time between the years 1 and 9999") from None


def datetime_text(text: str) -> str:
    """RFC 3339, with an offset, as the same moment in UTC."""
    if _DATETIME.fullmatch(text):
        try:
            return rfc3339(datetime.fromisoformat(text.upper()))
        except ValueError:
            pass
    raise ValueError('a date and time with its offset, such as "2026-05-07T12:00:00Z"')


def date_text(text: str) -> str:
    """ISO 8601: ``2026-05-07``."""
    if _DATE.fullmatch(text):
        try:
            return date.fromisoformat(text).isoformat()
        except ValueError:
            pass
    raise ValueError('a date such as "2026-05-07"')


def uuid_text(text: str) -> str:
    """In small letters."""
    lowered = text.lower()
    if not _UUID.fullmatch(lowered):
        raise ValueError('a UUID such as "123e4567-e89b-42d3-a456-426614174000"')
    return lowered


def scalar_text(value: object) -> object:
    """The text of a Python date, time or UUID; anything else as it is."""
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, date):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value


def _email(text: str) -> None:
    try:
        validate_email(text)
    except ValidationError:
        raise ValueError("an e-mail address") from None


def _uri(text: str) -> None:
    if not _URI.fullmatch(text):
        raise ValueError('a URI such as "https://example.org/"')


def _hostname(text: str) -> None:
    """RFC 1123."""
    labels = text.removesuffix(".").split(".")
    if len(text) > _LONGEST_HOSTNAME or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError("a host name")


def _ipv4(text: str) -> None:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        raise ValueError("an IPv4 address") from None


def _ipv6(text: str) -> None:
    try:
        if ipaddress.IPv6Address(text).scope_id is None:
            return
    except ValueError:
        pass
    raise ValueError("an IPv6 address")


def _slug(text: str) -> None:
    if not _SLUG.fullmatch(text):
        raise ValueError("letters, digits, hyphens and underscores only")


#: What ``format: …`` of a text field checks.
FORMATS: Final[Mapping[str, Callable[[str], None]]] = {
    "email": _email,
    "uri": _uri,
    "hostname": _hostname,
    "ipv4": _ipv4,
    "ipv6": _ipv6,
    "slug": _slug,
}
