"""What the OpenAPI document says of every operation: the key, the header, and the refusals."""

from typing import Any

from drf_spectacular.extensions import (
    OpenApiAuthenticationExtension,
    OpenApiSerializerFieldExtension,
)
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework import serializers

ON_BEHALF_OF = OpenApiParameter(
    "X-On-Behalf-Of",
    str,
    OpenApiParameter.HEADER,
    description="Your own id of the user you act for, if your key may send it: "
    "1 to 128 characters of `A-Z a-z 0-9 . _ : @ / + = -`.",
)
REFUSALS = {
    400: "The request is wrong; `param` names where.",
    401: "The API key is missing or wrong.",
    403: "The API key may not do this.",
    404: "There is no such object, or it is not yours.",
    409: "The object's present state does not allow this.",
    411: "The body came without a Content-Length.",
    413: "The body is too large.",
    415: "The body has a Content-Type this operation does not read.",
    416: "The range lies outside the file.",
    503: "The service cannot answer now; try again.",
}


class ErrorSerializer(serializers.Serializer[Any]):
    message = serializers.CharField()
    type = serializers.CharField()
    param = serializers.CharField(allow_null=True)
    code = serializers.CharField(allow_null=True)


class ErrorEnvelopeSerializer(serializers.Serializer[Any]):
    error = ErrorSerializer()


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # its metaclass
    target_class = "accounts.authentication.ApiKeyAuthentication"
    name = "ApiKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "An API key of your account."}


class ConstSchema(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]  # its metaclass
    target_class = "api.fields.ConstField"

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, str]:
        return {"type": "string", "const": self.target.value}


def refusals(*statuses: int) -> dict[int, OpenApiResponse]:
    """Describe an operation's refusals; 401, 403 and 503 are always among them."""
    return {
        status: OpenApiResponse(ErrorEnvelopeSerializer, description=REFUSALS[status])
        for status in sorted({401, 403, 503, *statuses})
    }


def without_aliases(endpoints: list[Any], **_: Any) -> list[Any]:
    """Describe every operation once, under the gateway's prefix; /v1 answers the same."""
    return [endpoint for endpoint in endpoints if not endpoint[0].startswith("/v1/")]
