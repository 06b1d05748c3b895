"""What a browser may do with a page of ours: load what this server serves, and run nothing that stands in the page."""

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

STRICT = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "font-src": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
}
# Swagger UI, which shows the API's document and nothing else, has icons as data, which run nothing either.
API_REFERENCE = STRICT | {"img-src": "'self' data:"}
API_REFERENCE_PATH = "/docs/"


def _written(policy: dict[str, str]) -> str:
    return "; ".join(f"{directive} {sources}" for directive, sources in policy.items())


_STRICT, _API_REFERENCE = _written(STRICT), _written(API_REFERENCE)


class ContentPolicyMiddleware:
    """Give every page a Content-Security-Policy, error pages too."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if response.get("Content-Type", "").startswith("text/html"):
            is_reference = request.path == API_REFERENCE_PATH
            response["Content-Security-Policy"] = _API_REFERENCE if is_reference else _STRICT
        return response
