"""What every JSON view has in common: asynchronous, in DRF's clothes, without DRF's threads.

Who may come in and what the answer is, is the subclasses' business; people who ask for HTML get
DRF's browsable API.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import JSONParser
from rest_framework.renderers import BrowsableAPIRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ..machines.schemas import dumps

MAX_REQUEST_ID = 64

Headers = list[tuple[str, str]]


class ExactJsonRenderer(JSONRenderer):
    """JSON as websocket clients get it: decimals keep their digits."""

    def render(self, data: Any, *args: Any, **kwargs: Any) -> bytes:
        return b"" if data is None else dumps(data)


class JsonView(APIView):
    """A view whose subclasses have an asynchronous ``dispatch``."""

    authentication_classes = ()  # governed, not DRF's
    permission_classes = ()
    throttle_classes = ()
    renderer_classes = (ExactJsonRenderer, BrowsableAPIRenderer)
    parser_classes = (JSONParser,)
    content_negotiation_class = DefaultContentNegotiation

    def _begin(self, request: HttpRequest) -> Request:
        """The request as DRF has it, for the browsable API."""
        self.args, self.kwargs = (), {}
        self.headers = {}
        self.format_kwarg = None
        wrapped: Request = self.initialize_request(request)
        self.request = wrapped
        return wrapped

    def _rendered(
        self, wrapped: Request, status: int, body: Any, headers: Headers
    ) -> HttpResponseBase:
        """As JSON, or as a page for people."""
        renderer, media_type = self.perform_content_negotiation(wrapped, force=True)
        if isinstance(renderer, ExactJsonRenderer):
            # Not a DRF Response: Django would render that on a thread.
            response: HttpResponseBase = HttpResponse(
                dumps(body), content_type="application/json", status=status
            )
        else:
            wrapped.accepted_renderer, wrapped.accepted_media_type = renderer, media_type
            response = self.finalize_response(wrapped, Response(body, status=status))
        for name, value in headers:
            response[name] = value
        return response

    async def get(self, request: Request) -> Response:
        """Named so that Django sees an asynchronous view and DRF its methods."""
        raise NotImplementedError

    post = put = patch = delete = get


def request_id_of(request: HttpRequest) -> str | None:
    """The id that the client gave the request, if it did."""
    return request.headers.get("X-Request-ID", "")[:MAX_REQUEST_ID] or None
