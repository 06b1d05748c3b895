"""The Batch object and its requests, as the wire has them. Source: contract.md 1.1 and 2.1 to 2.3."""

from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from api.clock import unix_seconds
from api.errors import ApiError, echo
from api.fields import (
    ConstField,
    ExpiresAfterSerializer,
    IntegerField,
    OneOfField,
    StringField,
    UnixSecondsField,
    invalid_type,
)
from api.limits import METADATA_KEY_CHARS, METADATA_PAIRS, METADATA_VALUE_CHARS
from batches.models import Batch, Status

MOST_CONCURRENCY = 2**31 - 1  # a larger number than the server's own limit is lowered to that one


@extend_schema_field(
    {
        "type": ["object", "null"],
        "additionalProperties": {"type": "string", "maxLength": METADATA_VALUE_CHARS},
        "maxProperties": METADATA_PAIRS,
    }
)
class MetadataField(serializers.Field[Any, Any, Any, Any]):
    """Texts by name: at most 16 pairs, names of 64 and texts of 512 characters."""

    def to_internal_value(self, data: Any) -> dict[str, str]:
        if not isinstance(data, dict):
            raise invalid_type("metadata", "an object", data)
        if len(data) > METADATA_PAIRS:
            raise _refused(
                f"too many properties. Expected an object with at most {METADATA_PAIRS} properties, "
                f"but got an object with {len(data)} properties instead.",
                "object_above_max_properties",
            )
        for key, value in data.items():
            self._check(key, value)
        return data

    def _check(self, key: str, value: Any) -> None:
        where = f"metadata.{echo(key)}"
        if not key:
            raise _refused("a property name is empty.", "property_name_below_min_length")
        if len(key) > METADATA_KEY_CHARS:
            raise _refused(
                f"a property name is too long. Expected at most {METADATA_KEY_CHARS} characters, "
                f"but got {len(key)} instead.",
                "property_name_above_max_length",
            )
        if not isinstance(value, str):
            raise invalid_type(where, "a string", value)
        if len(value) > METADATA_VALUE_CHARS:
            raise _refused(
                f"string too long. Expected at most {METADATA_VALUE_CHARS} characters, "
                f"but got {len(value)} instead.",
                "string_above_max_length",
                where,
            )

    def to_representation(self, value: Any) -> Any:
        return value


def _refused(what: str, code: str, param: str = "metadata") -> ApiError:
    return ApiError(f"Invalid '{param}': {what}", code=code, param=param)


def endpoints() -> list[str]:
    return list(settings.BATCH_ENDPOINTS)


def completion_windows() -> list[str]:
    return list(settings.BATCH_COMPLETION_WINDOWS)


class BatchCreateSerializer(serializers.Serializer[Any]):
    """What a caller may ask for. Unknown fields are ignored."""

    input_file_id = StringField(max_length=64)
    endpoint = OneOfField(choices=endpoints)
    completion_window = OneOfField(choices=completion_windows)
    metadata = MetadataField(required=False, allow_null=True)
    max_concurrency = IntegerField(1, MOST_CONCURRENCY, required=False, allow_null=True)
    output_expires_after = ExpiresAfterSerializer(required=False, allow_null=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        expires_after = attrs.pop("output_expires_after", None)
        attrs["output_expires_after_seconds"] = expires_after and expires_after["seconds"]
        return attrs


# Answers. The objects are built by hand: a poll costs a fraction of what a ModelSerializer would.


def represent_batch(batch: Batch) -> dict[str, Any]:
    """Return the batch object: every key always there, what is not known yet as null."""
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "model": batch.model,
        "errors": _errors(batch.errors) if batch.errors else None,
        "input_file_id": batch.input_file_id,
        "completion_window": batch.completion_window,
        "status": batch.status,
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
        "created_at": unix_seconds(batch.created_at),
        "in_progress_at": unix_seconds(batch.in_progress_at),
        "expires_at": unix_seconds(batch.expires_at),
        "finalizing_at": unix_seconds(batch.finalizing_at),
        "completed_at": unix_seconds(batch.completed_at),
        "failed_at": unix_seconds(batch.failed_at),
        "expired_at": unix_seconds(batch.expired_at),
        "cancelling_at": unix_seconds(batch.cancelling_at),
        "cancelled_at": unix_seconds(batch.cancelled_at),
        "request_counts": {
            "total": batch.total,
            "completed": batch.completed,
            "failed": batch.failed,
        },
        "usage": {
            "input_tokens": batch.input_tokens,
            "input_tokens_details": {"cached_tokens": batch.cached_tokens},
            "output_tokens": batch.output_tokens,
            "output_tokens_details": {"reasoning_tokens": batch.reasoning_tokens},
            "total_tokens": batch.input_tokens + batch.output_tokens,
        },
        "max_concurrency": batch.max_concurrency,
        "metadata": batch.metadata,
    }


def _errors(errors: list[dict[str, Any]]) -> dict[str, Any]:
    keys = ("code", "message", "param", "line")  # PostgreSQL's jsonb has an order of its own
    return {"object": "list", "data": [{key: error[key] for key in keys} for error in errors]}


# For the OpenAPI document: what represent_batch returns. A test holds them together.


class BatchErrorSerializer(serializers.Serializer[Any]):
    code = serializers.CharField()
    message = serializers.CharField()
    param = serializers.CharField(allow_null=True)
    line = serializers.IntegerField(allow_null=True)


class BatchErrorsSerializer(serializers.Serializer[Any]):
    object = ConstField("list")
    data = BatchErrorSerializer(many=True)  # type: ignore[assignment]  # a field of this name


class RequestCountsSerializer(serializers.Serializer[Any]):
    total = serializers.IntegerField()
    completed = serializers.IntegerField()
    failed = serializers.IntegerField()


class InputTokensDetailsSerializer(serializers.Serializer[Any]):
    cached_tokens = serializers.IntegerField()


class OutputTokensDetailsSerializer(serializers.Serializer[Any]):
    reasoning_tokens = serializers.IntegerField()


class UsageSerializer(serializers.Serializer[Any]):
    input_tokens = serializers.IntegerField()
    input_tokens_details = InputTokensDetailsSerializer()
    output_tokens = serializers.IntegerField()
    output_tokens_details = OutputTokensDetailsSerializer()
    total_tokens = serializers.IntegerField()


class BatchSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    object = ConstField("batch")
    endpoint = serializers.CharField()
    model = serializers.CharField(allow_null=True)
    errors = BatchErrorsSerializer(allow_null=True)  # type: ignore[assignment]  # a field of this name
    input_file_id = serializers.CharField()
    completion_window = serializers.CharField()
    status = serializers.ChoiceField(choices=Status.choices)
    output_file_id = serializers.CharField(allow_null=True)
    error_file_id = serializers.CharField(allow_null=True)
    created_at = UnixSecondsField()
    in_progress_at = UnixSecondsField(allow_null=True)
    expires_at = UnixSecondsField()
    finalizing_at = UnixSecondsField(allow_null=True)
    completed_at = UnixSecondsField(allow_null=True)
    failed_at = UnixSecondsField(allow_null=True)
    expired_at = UnixSecondsField(allow_null=True)
    cancelling_at = UnixSecondsField(allow_null=True)
    cancelled_at = UnixSecondsField(allow_null=True)
    request_counts = RequestCountsSerializer()
    usage = UsageSerializer()
    max_concurrency = serializers.IntegerField()
    metadata = MetadataField(allow_null=True)


class BatchPageSerializer(serializers.Serializer[Any]):
    object = ConstField("list")
    data = BatchSerializer(many=True)  # type: ignore[assignment]  # a field of this name
    first_id = serializers.CharField(allow_null=True)
    last_id = serializers.CharField(allow_null=True)
    has_more = serializers.BooleanField()
