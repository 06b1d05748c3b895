"""One line of an input file: is it a request this batch can send, and if not, everything that is wrong with it.

Pure; bodies stay bytes wherever they can. Codes and words: contract.md 4, then reliability.md 4.2.
"""

import dataclasses
import json
import re
import unicodedata
from typing import Any

import msgspec
from msgspec import Raw

MAX_CUSTOM_ID = 512  # characters; generous, for OpenAI publishes none
MAX_DEPTH = 100
MAX_DIGITS = 4300  # what Python itself still turns into an integer
KEYS = ("custom_id", "method", "url", "body")
REQUIRED_IN_BODY = {
    "/v1/chat/completions": "messages",
    "/v1/embeddings": "input",
    "/v1/images/generations": "prompt",
}

LONG_NUMBER = re.compile(rb"[0-9]{%d}" % (MAX_DIGITS + 1))
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_BRACKET = re.compile(rb"[\[\]{}]")


_object = msgspec.json.Decoder(dict[str, Raw])
_list = msgspec.json.Decoder(list[Raw])


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """Why a line, or the whole file when `line` is None, was refused."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


class RequestLine(msgspec.Struct, frozen=True, gc=False):
    """What validation keeps of a good line."""

    custom_id: str
    model: str
    inputs: int  # of an embeddings request; 1 for any other


def count_inputs(value: bytes) -> int:
    """How many texts an `input` holds: a string or a list of token numbers is one."""
    if not value.startswith(b"["):
        return 1
    items = _list.decode(value)
    return len(items) if items and bytes(items[0])[:1] in (b'"', b"[") else 1


def diagnose(line: bytes, number: int, endpoint: str) -> RequestLine | list[Problem]:
    """Return what the line asks for, or every problem it has."""
    found = _parse(line)
    if isinstance(found, str):
        return [Problem("invalid_json_line", found, None, number)]
    problems = _frame_problems(found, endpoint)
    body: Any = _json(found["body"]) if "body" in found else None
    if isinstance(body, dict):
        problems += _body_problems(body, endpoint)
    problems += _duplicates(line)
    if problems:
        return [dataclasses.replace(problem, line=number) for problem in problems]
    inputs = count_inputs(bytes(body["input"])) if endpoint == "/v1/embeddings" else 1
    return RequestLine(_json_text(found["custom_id"]), _json_text(body["model"]), inputs)


def _parse(line: bytes) -> dict[str, Raw] | str:
    """The line's top level, or the words for why it is not a usable JSON object."""
    unparseable = "This line is not parseable as valid JSON."
    try:
        text = str(line, "utf-8")
        if _depth(line) > MAX_DEPTH:
            return f"This line is nested too deep: at most {MAX_DEPTH} levels are allowed."
        if LONG_NUMBER.search(_STRING.sub(b'""', line)):
            return f"This line has a number of more than {MAX_DIGITS} digits."
        return _object.decode(text)
    except msgspec.ValidationError:
        return "This line must be a JSON object."
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return unparseable


def _depth(line: bytes) -> int:
    depth = deepest = 0
    for bracket in _BRACKET.finditer(_STRING.sub(b"", line)):
        depth += 1 if bracket.group() in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _frame_problems(found: dict[str, Raw], endpoint: str) -> list[Problem]:
    problems = [
        Problem("missing_required_parameter", f"Missing required parameter: '{key}'.", key)
        for key in KEYS
        if key not in found
    ]
    for key, check in (("custom_id", _custom_id_problem), ("method", _method_problem)):
        if key in found and (problem := check(_json(found[key]))):
            problems.append(problem)
    if "url" in found and _json(found["url"]) != endpoint:
        text = "The URL provided for this request does not match the batch endpoint."
        problems.append(Problem("invalid_url", text, "url"))
    if "body" in found and not isinstance(_json(found["body"]), dict):
        problems.append(_wrong_type("body", "an object", _json(found["body"])))
    return problems


def _custom_id_problem(value: object) -> Problem | None:
    if not isinstance(value, str):
        return _wrong_type("custom_id", "a string", value)
    if not value.strip():
        text = "Invalid 'custom_id': it must not be empty."
    elif len(value) > MAX_CUSTOM_ID:
        text = f"Invalid 'custom_id': at most {MAX_CUSTOM_ID} characters are allowed, this one has {len(value)}."
    elif any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
        text = "Invalid 'custom_id': control characters are not allowed."
    else:
        return None
    return Problem("invalid_custom_id", text, "custom_id")


def _method_problem(value: object) -> Problem | None:
    if value == "POST":
        return None
    shown = shorten(value) if isinstance(value, str) else type_name(value)
    text = f"Invalid value: '{shown}'. Supported values are: 'POST'."
    return Problem("invalid_value", text, "method")


def _body_problems(body: dict[str, Raw], endpoint: str) -> list[Problem]:
    problems = []
    model = _json(body["model"]) if "model" in body else None
    if model is None or model == "":
        text = "Model parameter is required."
        problems.append(Problem("invalid_request", text, "body.model"))
    elif not isinstance(model, str):
        problems.append(_wrong_type("body.model", "a string", model))
    if "stream" in body and bytes(body["stream"]) not in (b"false", b"null"):
        what = "Chat Completions: " if endpoint == "/v1/chat/completions" else ""
        text = f"{what}Streaming is not supported in the Batch API."
        problems.append(Problem("streaming_unsupported", text, "body.stream"))
    required = REQUIRED_IN_BODY.get(endpoint)
    if required and bytes(body.get(required, b"null")) == b"null":
        text = f"{required.capitalize()} parameter is required."
        problems.append(Problem("invalid_request", text, f"body.{required}"))
    return problems


def _duplicates(line: bytes) -> list[Problem]:
    """Keys that stand twice: parsers differ in which one they take, so what is checked may not be what is run."""
    pairs: list[tuple[str, Any]] = json.loads(line, object_pairs_hook=list)
    problems = _repeated(pairs, KEYS, "")
    body = [value for key, value in pairs if key == "body"]
    if len(body) == 1 and isinstance(body[0], list):
        pairs = [item for item in body[0] if isinstance(item, tuple)]
        problems += _repeated(pairs, ("model", "stream"), "body.")
    return problems


def _repeated(pairs: list[tuple[str, Any]], keys: tuple[str, ...], prefix: str) -> list[Problem]:
    names = [key for key, _ in pairs]
    return [
        Problem("duplicate_key", f"The key '{prefix}{key}' is given twice.", prefix + key)
        for key in dict.fromkeys(keys)
        if names.count(key) > 1
    ]


def _wrong_type(param: str, expected: str, value: object) -> Problem:
    text = f"Invalid type for '{param}': expected {expected}, but got {type_name(value)} instead."
    return Problem("invalid_type", text, param)


def _json(value: Raw) -> Any:
    """A value decoded one level deep: what is inside an object stays bytes."""
    raw = bytes(value)
    if raw.startswith(b"{"):
        return _object.decode(raw)
    if raw.startswith(b"["):
        return _list.decode(raw)
    return json.loads(raw)


def _json_text(value: Raw) -> str:
    text: str = msgspec.json.decode(value, type=str)
    return text


def type_name(value: object) -> str:
    """The JSON type of a value, with its article."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    names = {str: "a string", int: "an integer", float: "a number", list: "an array"}
    return names.get(type(value), "an object")


def shorten(text: str, limit: int = 100) -> str:
    """At most `limit` characters, for a message that quotes its input."""
    printable = "".join(c if c.isprintable() else "�" for c in text[:limit])
    return printable + ("…" if len(text) > limit else "")
