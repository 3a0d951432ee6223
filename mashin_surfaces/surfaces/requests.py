"""What JSON views read of a request besides its credentials; all of it raises ``Refusal``."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest
from pydantic import ValidationError

from ..exceptions import Code, Refusal
from ..machines.schemas import parse


class WrongMethod(Refusal):
    """The path is right, the HTTP method is not (405)."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.UNKNOWN_MESSAGE, message)


def json_object(request: HttpRequest, most: int) -> dict[str, Any]:
    """The body, an object of at most ``most`` bytes."""
    try:
        body = request.body
    except RequestDataTooBig:
        body = None
    if body is None or len(body) > most:
        raise Refusal(Code.TOO_LARGE, "The request's body is too large.")
    value = parse(body, decimals=False)
    if not isinstance(value, dict):
        raise Refusal(Code.INVALID_INPUT, "The body is a JSON object.")
    return value


def number_of(request: HttpRequest, name: str, otherwise: int, most: int) -> int:
    """A number of the query string, cut off at ``most``."""
    text = request.GET.get(name)
    if text is None:
        return otherwise
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise Refusal(Code.INVALID_INPUT, f'"{name}" is a number from 0.')
    return min(int(text), most)


def field_errors(error: ValidationError, message: str) -> Refusal:
    """What is wrong with a body, each with its path."""
    details = [
        {
            "path": "/" + "/".join(map(str, item["loc"])),
            "code": item["type"],
            "message": item["msg"],
        }
        for item in error.errors(include_url=False, include_input=False)
    ]
    return Refusal(Code.INVALID_INPUT, message, details=details)
