"""Who is calling, for whom, and whether their key allows it."""

import dataclasses
import datetime
import re
from typing import Any

from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from accounts.models import ApiKey, ExternalUser, Owner
from api.errors import ApiError, Forbidden, Unauthenticated

ON_BEHALF_OF = re.compile(r"[A-Za-z0-9._:@/+=-]{1,128}")
NO_KEY = "You didn't provide an API key. Send it in the header `Authorization: Bearer <key>`."
WRONG_KEY = "Incorrect API key provided: it is unknown, revoked or expired. Ask your operator."

SUSPENDED = (
    "The user named in X-On-Behalf-Of is suspended: no new file and no new batch is taken for them. "
    "What there is can be read, cancelled and deleted. Ask your operator."
)


@dataclasses.dataclass(frozen=True, slots=True)
class Caller:
    """The key a request came with, the owner it acts as, and the database's time when it came."""

    key: ApiKey
    owner: Owner
    now: datetime.datetime


class ApiKeyAuthentication(BaseAuthentication):
    """Let a request act only as the owner its key and its X-On-Behalf-Of header name.

    `request.user` becomes the Caller, `request.auth` its key. Every wrong key gets the same answer.
    """

    def authenticate(self, request: Request) -> tuple[Caller, ApiKey] | None:
        header = request.META.get("HTTP_AUTHORIZATION", "")
        if not header:
            return None
        scheme, _, secret = header.partition(" ")
        key = ApiKey.objects.find(secret) if scheme.lower() == "bearer" else None
        if key is None:
            raise Unauthenticated(WRONG_KEY, code="invalid_api_key")
        owner = Owner(key.account, _external_user(key, request.META.get("HTTP_X_ON_BEHALF_OF")))
        key.touch(key.found_at)
        return Caller(key, owner, key.found_at), key

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class HasScope(BasePermission):
    """Let a key do only what its scopes say. The view names its `scope`, for example "files".

    What is new is not taken from a user who is suspended; they may still read, cancel and delete what there is.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        caller: Any = request.user
        if caller is None:
            raise Unauthenticated(NO_KEY)
        right = "read" if request.method in SAFE_METHODS else "write"
        needed = f"{view.scope}:{right}"
        if needed not in caller.key.scopes:
            raise Forbidden(f"This API key lacks the scope '{needed}'.", code="missing_scope")
        user = caller.owner.external_user
        if user is not None and not user.is_active and request.method in getattr(view, "adds", ()):
            raise Forbidden(SUSPENDED, code="user_suspended")
        return True


def _external_user(key: ApiKey, external_id: str | None) -> ExternalUser | None:
    """Return the user the caller acts for, made on first use. Raises ApiError or Forbidden."""
    if external_id is None:
        if key.on_behalf_of == ApiKey.OnBehalfOf.REQUIRED:
            raise _invalid("This API key must name the user it acts for in X-On-Behalf-Of.")
        return None
    if key.on_behalf_of == ApiKey.OnBehalfOf.FORBIDDEN:
        raise Forbidden(
            "This API key may not send X-On-Behalf-Of. Leave the header out, or ask your operator.",
            code="on_behalf_of_forbidden",
        )
    if not ON_BEHALF_OF.fullmatch(external_id):
        raise _invalid(
            "X-On-Behalf-Of must be sent once, as 1 to 128 characters of A-Z a-z 0-9 . _ : @ / + = -"
        )
    return ExternalUser.objects.get_or_create(account=key.account, external_id=external_id)[0]


def _invalid(message: str) -> ApiError:
    return ApiError(message, code="invalid_on_behalf_of", param="X-On-Behalf-Of")
