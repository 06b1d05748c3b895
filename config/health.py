"""What a load balancer and a process supervisor ask."""

from django.db import DatabaseError, InterfaceError, connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from files.storage import storage


@require_safe
def livez(request: HttpRequest) -> JsonResponse:
    """Answer 200 as long as this process serves requests."""
    return JsonResponse({"status": "ok"})


@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """Answer 200 when the database answers and the storage can be written, else 503 with each reason."""
    checks = {"database": _database(), "storage": _storage()}
    ready = all(result == "ok" for result in checks.values())
    status = "ok" if ready else "unavailable"
    return JsonResponse({"status": status, "checks": checks}, status=200 if ready else 503)


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except (DatabaseError, InterfaceError):
        return "does not answer"
    return "ok"


def _storage() -> str:
    try:
        storage().check()
    except OSError as error:
        return f"cannot be written: {error.strerror}"
    return "ok"
