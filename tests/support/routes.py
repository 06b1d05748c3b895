"""Every route of the service, read from the URLconf, so that none can be forgotten."""

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver

METHODS = ("get", "head", "post", "put", "patch", "delete")
PREFIXES = ("api/v1/llm/", "v1/")
PARAMETER = re.compile(r"<\w+:(\w+)>")


@dataclasses.dataclass(frozen=True)
class Route:
    """One path, such as `v1/files/<str:file_id>`, and what answers there."""

    path: str
    view: Any

    @property
    def parameters(self) -> list[str]:
        return PARAMETER.findall(self.path)

    @property
    def methods(self) -> list[str]:
        """Return the methods the view answers, in lower case; HEAD wherever there is GET."""
        view = getattr(self.view, "view_class", None) or getattr(self.view, "cls", None)
        assert view is not None, f"{self.path}: this walk only understands class-based views"
        found = [method for method in METHODS if hasattr(view, method)]
        return [*found, "head"] if "get" in found and "head" not in found else found

    def url(self, **ids: str) -> str:
        return "/" + PARAMETER.sub(lambda match: ids[match[1]], self.path)


def routes() -> Iterator[Route]:
    """Yield every route, the admin's as well."""
    yield from _walk(get_resolver(), "")


def api_routes() -> list[Route]:
    """Return the routes of the API, under both of its prefixes."""
    return [route for route in routes() if route.path.startswith(PREFIXES)]


def _walk(resolver: URLResolver, prefix: str) -> Iterator[Route]:
    for entry in resolver.url_patterns:
        path = prefix + str(entry.pattern)
        if isinstance(entry, URLPattern):
            yield Route(path, entry.callback)
        else:
            yield from _walk(entry, path)
