"""The answers Django itself gives, in the envelope everywhere but in the admin."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.views import defaults

from api.errors import ApiError, Forbidden, NotFound, api_error, echo, error_response

ADMIN = "/admin/"


class ServerError(ApiError):
    status_code = 500
    type = "api_error"


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    error = api_error(exception) or ApiError("The request is malformed.", code="bad_request")
    return _answer(request, error, lambda: defaults.bad_request(request, exception))


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    error = Forbidden("This is not allowed.", code="forbidden")
    return _answer(request, error, lambda: defaults.permission_denied(request, exception))


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    error = NotFound(
        f"Unknown request URL: {request.method} {echo(request.path)}. "
        "The paths this service answers are listed at /docs/.",
        code="unknown_url",
    )
    return _answer(request, error, lambda: defaults.page_not_found(request, exception))


def server_error(request: HttpRequest) -> HttpResponse:
    error = ServerError(
        "The server had an error while processing your request. "
        "If it happens again, give the operator the X-Request-ID of this answer.",
        code="server_error",
    )
    return _answer(request, error, lambda: defaults.server_error(request))


def _answer(
    request: HttpRequest, error: ApiError, page: Callable[[], HttpResponse]
) -> HttpResponse:
    return page() if request.path.startswith(ADMIN) else error_response(error)
