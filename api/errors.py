"""Every refusal of the API, in the one envelope that OpenAI's clients read.

ApiError                400, the caller's mistake
├── Unauthenticated     401, with WWW-Authenticate
├── Forbidden           403
├── NotFound            404, also for what belongs to somebody else
├── MethodNotAllowed    405; the view adds Allow
├── Conflict            409, never worth a retry
├── LengthRequired      411
├── TooLarge            413
├── UnsupportedType     415
└── Unavailable         503, with Retry-After
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.core import exceptions as django
from django.db import InterfaceError, InternalError, OperationalError
from django.http import Http404, JsonResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from rest_framework import exceptions as rest
from rest_framework.response import Response

from api.limits import ECHO_CHARS, RETRY_AFTER_SECONDS

logger = logging.getLogger(__name__)

READ_ONLY = "25006"  # read_only_sql_transaction


class ApiError(rest.APIException):
    """A refusal: what was wrong (`message`), where (`param`), and its name for programs (`code`)."""

    status_code = 400
    type = "invalid_request_error"
    headers: Mapping[str, str] = {}

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param

    @property
    def envelope(self) -> dict[str, dict[str, str | None]]:
        return {
            "error": {
                "message": self.message,
                "type": self.type,
                "param": self.param,
                "code": self.code,
            }
        }


class Unauthenticated(ApiError):
    status_code = 401
    headers = {"WWW-Authenticate": "Bearer"}


class Forbidden(ApiError):
    status_code = 403
    type = "permission_error"


class NotFound(ApiError):
    status_code = 404


class MethodNotAllowed(ApiError):
    status_code = 405


class Conflict(ApiError):
    status_code = 409
    headers = {"x-should-retry": "false"}  # the SDK would send it three times; contract.md 5.3


class LengthRequired(ApiError):
    status_code = 411


class TooLarge(ApiError):
    status_code = 413


class UnsupportedType(ApiError):
    status_code = 415


class Unavailable(ApiError):
    status_code = 503
    type = "api_error"
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}


# From other exceptions


def echo(value: object) -> str:
    """Return a caller's value as an error may repeat it: shortened."""
    text = str(value)
    return text if len(text) <= ECHO_CHARS else text[:ECHO_CHARS] + "…"


def api_error(exception: BaseException) -> ApiError | None:
    """Return what the caller is told about an exception; None when it is a bug of ours."""
    if isinstance(exception, ApiError):
        return exception
    for kind, convert in _CONVERSIONS:
        if isinstance(exception, kind):
            return convert(exception)
    return _unavailable(exception) if _is_read_only(exception) else None


def exception_handler(exception: Exception, context: Mapping[str, Any]) -> Response | None:
    """Answer any refusal in the envelope; leave a bug to Django, whose 500 has the same shape."""
    error = api_error(exception)
    if error is None:
        return None
    if error.status_code >= 500:
        logger.warning("answered %s", error.status_code, exc_info=exception)
    return Response(error.envelope, status=error.status_code, headers=dict(error.headers))


def error_response(error: ApiError) -> JsonResponse:
    """Answer a refusal where no view has begun."""
    return JsonResponse(error.envelope, status=error.status_code, headers=dict(error.headers))


def invalid_value(param: str, value: object, supported: Sequence[str]) -> ApiError:
    """Refuse a value that is not one of the supported ones."""
    message = f"Invalid value: '{echo(value)}'. Supported values are: {_listed(supported)}."
    return ApiError(message, code="invalid_value", param=param)


def missing_parameter(param: str) -> ApiError:
    return ApiError(
        f"Missing required parameter: '{param}'.", code="missing_required_parameter", param=param
    )


def _listed(values: Sequence[str]) -> str:
    quoted = [f"'{value}'" for value in values]
    if len(quoted) < 3:
        return " and ".join(quoted)
    return ", ".join(quoted[:-1]) + f", and {quoted[-1]}"


_CODES = {
    "required": "missing_required_parameter",
    "null": "invalid_type",
    "not_a_dict": "invalid_type",
    "not_a_list": "invalid_type",
    "invalid": "invalid_type",
    "invalid_choice": "invalid_value",
    "blank": "invalid_value",
    "max_length": "string_above_max_length",
    "max_value": "integer_above_max_value",
    "min_value": "integer_below_min_value",
}


def _from_validation(exception: rest.ValidationError) -> ApiError:
    path, detail = _first("", exception.detail)
    if detail.code == "required":
        return missing_parameter(path)
    code = detail.code or "invalid"
    return ApiError(str(detail), code=_CODES.get(code, code), param=path or None)


def _first(path: str, detail: Any) -> tuple[str, rest.ErrorDetail]:
    """Find the first error of a nested tree, and the dotted name of its field."""
    if isinstance(detail, dict):
        name, nested = next(iter(detail.items()))
        own = name == "non_field_errors"
        return _first(path if own else f"{path}.{name}".lstrip("."), nested)
    if isinstance(detail, list):
        return _first(path, detail[0])
    return path, detail


def _method(exception: rest.MethodNotAllowed) -> ApiError:
    return MethodNotAllowed(
        f"{exception.detail} The Allow header of this answer lists those that are.",
        code="method_not_allowed",
    )


def _unavailable(exception: BaseException) -> ApiError:
    return Unavailable("The database does not answer. Try again in a moment.", code="unavailable")


def _is_read_only(exception: BaseException) -> bool:
    """PostgreSQL calls it an internal error that it takes no writes, for it is a standby or was told so."""
    said = exception.__cause__ if isinstance(exception, InternalError) else None
    return getattr(said, "sqlstate", None) == READ_ONLY


def _other(exception: rest.APIException) -> ApiError:
    error = ApiError(str(exception.detail), code=exception.default_code)
    error.status_code = exception.status_code
    return error


_CONVERSIONS: tuple[tuple[type[BaseException], Callable[[Any], ApiError]], ...] = (
    (rest.ValidationError, _from_validation),
    (rest.UnsupportedMediaType, lambda e: UnsupportedType(str(e.detail), code="unsupported_type")),
    (rest.MethodNotAllowed, _method),
    (rest.PermissionDenied, lambda e: Forbidden(str(e.detail), code="forbidden")),
    (rest.NotFound, lambda _: NotFound("There is nothing here.", code="not_found")),
    (rest.APIException, _other),
    (Http404, lambda _: NotFound("There is nothing here.", code="not_found")),
    (django.PermissionDenied, lambda _: Forbidden("This is not allowed.", code="forbidden")),
    (
        django.RequestDataTooBig,
        lambda _: TooLarge("The request body is too large.", code="request_too_large"),
    ),
    (
        django.TooManyFieldsSent,
        lambda _: ApiError("The request has too many fields.", code="too_many_fields"),
    ),
    (
        django.TooManyFilesSent,
        lambda _: ApiError("The request has too many files.", code="too_many_files"),
    ),
    (
        MultiPartParserError,
        lambda _: ApiError("The body is not valid multipart/form-data.", code="invalid_multipart"),
    ),
    (
        UnreadablePostError,
        lambda _: ApiError("The request body ended too early.", code="incomplete_body"),
    ),
    (
        django.SuspiciousOperation,
        lambda _: ApiError("The request is malformed.", code="bad_request"),
    ),
    (django.BadRequest, lambda _: ApiError("The request is malformed.", code="bad_request")),
    (OperationalError, _unavailable),
    (InterfaceError, _unavailable),
)
