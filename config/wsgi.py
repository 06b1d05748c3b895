"""The WSGI application, which granian serves."""

import os
from collections.abc import Iterable
from importlib import import_module
from typing import Any

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.utils.http import parse_header_parameters

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django = get_wsgi_application()
# Every page is loaded before the first request: it would wait for it, and a mistake be found by a caller.
import_module(settings.ROOT_URLCONF)


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answer a request, whatever its Content-Type looks like.

    Django reads that header before any middleware, and fails with a bare 500 when it names an unknown
    character set. Such a type is none, and refused where a body is expected.
    """
    try:
        parse_header_parameters(environ.get("CONTENT_TYPE", ""))
    except ValueError:
        environ["CONTENT_TYPE"] = ""
    return django(environ, start_response)
