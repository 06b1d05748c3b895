"""What holds for every request, before any view."""

import secrets
from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from api.errors import LengthRequired, error_response

LENGTH_REQUIRED = LengthRequired(
    "A body needs a Content-Length header. Send the body whole instead of chunked.",
    code="length_required",
)


class RequestIdMiddleware:
    """Give every answer an X-Request-ID of ours, which the SDKs show as `_request_id`."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        request_id = "req_" + secrets.token_hex(16)
        request.META["REQUEST_ID"] = request_id
        response = self._answer(request)
        response["X-Request-ID"] = request_id
        return response

    def _answer(self, request: HttpRequest) -> HttpResponseBase:
        # Django takes a body without a length for an empty one; better no answer than a wrong one.
        if "HTTP_TRANSFER_ENCODING" in request.META and not request.META.get("CONTENT_LENGTH"):
            return error_response(LENGTH_REQUIRED)
        return self.get_response(request)
