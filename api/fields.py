"""Serializer fields that take nothing for something else: no number for a text, no text for a number."""

from collections.abc import Callable, Sequence
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from api.clock import unix_seconds
from api.errors import ApiError, echo, invalid_value
from api.limits import EXPIRES_AFTER_SECONDS

_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "a boolean"),
    (str, "a string"),
    (int, "an integer"),
    (float, "a number"),
    (list, "an array"),
    (dict, "an object"),
)


def kind_of(value: object) -> str:
    """Name the JSON type of a value, as error messages do."""
    return next((name for kind, name in _KINDS if isinstance(value, kind)), "null")


def invalid_type(param: str, expected: str, value: object) -> ApiError:
    """Refuse a value of the wrong JSON type; contract.md 5.2."""
    return ApiError(
        f"Invalid type for '{param}': expected {expected}, but got {kind_of(value)} instead.",
        code="invalid_type",
        param=param,
    )


def out_of_range(param: str, value: int, least: int, most: int) -> ApiError:
    """Refuse an integer outside `least` to `most`; contract.md 5.2."""
    below = value < least
    side, bound = ("below minimum", f">= {least}") if below else ("above maximum", f"<= {most}")
    return ApiError(
        f"Invalid '{param}': integer {side} value. "
        f"Expected a value {bound}, but got {echo(value)} instead.",
        code="integer_below_min_value" if below else "integer_above_max_value",
        param=param,
    )


def param_of(field: serializers.Field[Any, Any, Any, Any]) -> str:
    """Return the dotted path of a field inside the request body."""
    names = []
    at: Any = field
    while at is not None and at.field_name:
        names.append(at.field_name)
        at = at.parent
    return ".".join(reversed(names))


class StringField(serializers.CharField):
    """A JSON string, kept as it is."""

    def __init__(self, **options: Any) -> None:
        super().__init__(trim_whitespace=False, **options)

    def run_validation(self, data: Any = serializers.empty) -> Any:
        if data is serializers.empty or (data is None and self.allow_null):
            return super().run_validation(data)
        if not isinstance(data, str):
            raise invalid_type(param_of(self), "a string", data)
        return super().run_validation(data)


class IntegerField(serializers.IntegerField):
    """A JSON integer from `least` to `most`."""

    def __init__(self, least: int, most: int, **options: Any) -> None:
        self.least = least
        self.most = most
        super().__init__(min_value=least, max_value=most, **options)

    def run_validation(self, data: Any = serializers.empty) -> Any:
        if data is serializers.empty or (data is None and self.allow_null):
            return super().run_validation(data)
        if not isinstance(data, int) or isinstance(data, bool):
            raise invalid_type(param_of(self), "an integer", data)
        if not self.least <= data <= self.most:
            raise out_of_range(param_of(self), data, self.least, self.most)
        return data


class OneOfField(serializers.ChoiceField):
    """A JSON string, one of those supported: a list, or a function that is asked at each request."""

    def __init__(
        self, choices: Sequence[str] | Callable[[], Sequence[str]], **options: Any
    ) -> None:
        self.supported = choices if callable(choices) else lambda: choices
        super().__init__(choices=self.supported(), **options)

    def run_validation(self, data: Any = serializers.empty) -> Any:
        if data is serializers.empty or (data is None and self.allow_null):
            return super().run_validation(data)
        if not isinstance(data, str):
            raise invalid_type(param_of(self), "a string", data)
        supported = self.supported()
        if data not in supported:
            raise invalid_value(param_of(self), data, supported)
        return data


@extend_schema_field(OpenApiTypes.INT64)
class UnixSecondsField(serializers.Field[Any, Any, Any, Any]):
    """A moment as whole Unix seconds, read-only."""

    def __init__(self, **options: Any) -> None:
        super().__init__(read_only=True, **options)

    def to_representation(self, value: Any) -> int | None:
        return unix_seconds(value)


class ConstField(serializers.Field[Any, Any, Any, Any]):
    """Always the same word, read-only: the `object` of an object."""

    def __init__(self, value: str, **options: Any) -> None:
        self.value = value
        super().__init__(read_only=True, **options)

    def get_attribute(self, instance: Any) -> str:
        return self.value

    def to_representation(self, value: str) -> str:
        return value


class ExpiresAfterSerializer(serializers.Serializer[Any]):
    """How long after its creation a file goes; contract.md 2.1 and 6.1."""

    anchor = OneOfField(choices=["created_at"])
    seconds = IntegerField(*EXPIRES_AFTER_SECONDS)
