"""JSON bodies, read strictly: what is ambiguous is refused rather than guessed."""

import json
import math
from collections.abc import Mapping
from typing import IO, Any

from django.utils.http import parse_header_parameters
from rest_framework.parsers import BaseParser

from api.errors import ApiError, TooLarge, echo
from api.limits import JSON_BODY_BYTES, JSON_DEPTH


def invalid_json(what: str) -> ApiError:
    return ApiError(
        f"We could not parse the JSON body of your request: {what}", code="invalid_json"
    )


class StrictJSONParser(BaseParser):
    """Parse a body that is one JSON object. An empty body is an empty object, as the SDK's cancel sends it.

    Raises ApiError `invalid_json` for anything but strict UTF-8 JSON with unique keys, finite
    numbers, Unicode text without U+0000 and at most 100 levels; TooLarge above 1 MB.
    """

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        charset = parse_header_parameters(media_type or "")[1].get("charset", "utf-8")
        if charset.lower() not in ("utf-8", "utf8"):
            raise invalid_json("it must be UTF-8, and its Content-Type says something else.")
        body = stream.read(JSON_BODY_BYTES + 1)
        if len(body) > JSON_BODY_BYTES:
            raise TooLarge(
                f"The request body is larger than {JSON_BODY_BYTES} bytes.",
                code="request_too_large",
            )
        return parse_object(body) if body else {}


def parse_object(body: bytes) -> dict[str, Any]:
    """Return the one JSON object that `body` is. Raises ApiError `invalid_json`."""
    try:
        value = json.loads(
            body.decode(),
            object_pairs_hook=_unique,
            parse_float=_finite,
            parse_constant=_refuse_constant,
        )
    except json.JSONDecodeError as error:
        raise invalid_json(f"{error}.") from None
    except UnicodeDecodeError as error:
        raise invalid_json(f"byte {error.start} is not UTF-8.") from None
    except RecursionError:
        raise invalid_json(f"it is nested more than {JSON_DEPTH} levels deep.") from None
    except ValueError:  # CPython refuses to read integers of more than 4300 digits
        raise invalid_json("a number in it is too long.") from None
    if not isinstance(value, dict):
        raise invalid_json("it must be an object.")
    _check(value)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise invalid_json(f"the key {json.dumps(echo(twice))} is there twice.")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise invalid_json("a number in it is too large.")
    return number


def _refuse_constant(name: str) -> None:
    raise invalid_json(f"{name} is not JSON.")


def _check(value: Any) -> None:
    """Refuse what no database column holds: deep nesting, U+0000, half a surrogate pair."""
    level = [value]
    for _ in range(JSON_DEPTH):
        texts = [item for item in level if isinstance(item, str)]
        if any("\0" in text or not _is_unicode(text) for text in texts):
            raise invalid_json("a text in it holds U+0000 or half of a surrogate pair.")
        level = [inner for item in level for inner in _inside(item)]
        if not level:
            return
    raise invalid_json(f"it is nested more than {JSON_DEPTH} levels deep.")


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    return value if isinstance(value, list) else []


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)
