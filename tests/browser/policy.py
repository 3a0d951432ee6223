"""A strict Content-Security-Policy on every answer, as careful sites have it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.decorators import sync_and_async_middleware

POLICY = "default-src 'self'"


@sync_and_async_middleware
def strict_policy(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    if iscoroutinefunction(get_response):

        async def answer_async(request: HttpRequest) -> HttpResponse:
            waiting: Awaitable[HttpResponse] = get_response(request)
            response = await waiting
            response["Content-Security-Policy"] = POLICY
            return response

        return answer_async

    def answer(request: HttpRequest) -> HttpResponse:
        response: HttpResponse = get_response(request)
        response["Content-Security-Policy"] = POLICY
        return response

    return answer
