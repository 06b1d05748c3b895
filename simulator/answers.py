"""The bodies of the answers: the same for the same seed and request, and each says that it is simulated.

Tokens are counted as words: `usage` says so in `counted_as`.
"""

import array
import base64
import hashlib
import itertools
import json
import math
import random
import struct
import zlib
from collections.abc import Callable
from typing import Any

import msgspec

CREATED = 1_767_225_600  # the start of 2026; a clock would make equal requests differ
DEFAULT_DIMENSIONS = 256
_WORDS = [
    "the",
    "crew",
    "checks",
    "each",
    "crate",
    "against",
    "the",
    "list",
    "and",
    "stacks",
    "it",
    "by",
    "the",
    "water",
    "while",
    "a",
    "crane",
    "lifts",
    "one",
    "more",
    "from",
    "the",
    "hold",
    "then",
    "someone",
    "signs",
    "the",
    "sheet",
    "and",
    "the",
    "tide",
    "turns",
    "so",
    "the",
    "next",
    "ship",
    "may",
    "come",
    "alongside",
    "before",
    "dark",
    "with",
    "grain",
    "or",
    "timber",
    "or",
    "tea",
    "from",
    "far",
    "away",
    "and",
    "all",
    "of",
    "it",
    "is",
    "counted",
] * 3


class Refused(Exception):
    """The request cannot be answered; carries what the caller is told."""

    def __init__(
        self, message: str, *, status: int = 400, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.message, self.status, self.param, self.code = message, status, param, code


def error(message: str, kind: str, *, param: str | None = None, code: str | None = None) -> bytes:
    """The envelope of every error, as OpenAI's API shapes it."""
    inner = {"message": message, "type": kind, "param": param, "code": code}
    return msgspec.json.encode({"error": inner, "simulated": True})


def parse(body: bytes) -> dict[str, Any]:
    """The request as a dict that names a model.

    Raises:
        Refused: it is not a JSON object, has no model, or asks for a stream.
    """
    try:
        request = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        request = _lenient(body)
    if not isinstance(request, dict):
        raise Refused("The body is not a JSON object.")
    model = request.get("model")
    if not isinstance(model, str) or not model:
        raise Refused("You must provide a model parameter.", param="model")
    if request.get("stream"):
        raise Refused("Streams are not simulated; send stream: false.", param="stream")
    return request


def _lenient(body: bytes) -> object:
    # msgspec refuses the escape of a lone surrogate; real model servers take it.
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise Refused("We could not parse the JSON body of your request.") from None


def chat(request: dict[str, Any], digest: bytes, tokens: int) -> dict[str, Any]:
    """A chat completion that opens with the words of the last message.

    Raises:
        Refused: `messages` is not a list with something in it.
    """
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refused("messages must be a list of at least one message.", param="messages")
    texts = [_text(message) for message in messages]
    excerpt = " ".join(texts[-1].split()[:8])[:80].encode(errors="replace").decode()
    content = f'Simulated answer to "{excerpt}": {_prose(digest, tokens)}'
    choice = {"message": {"role": "assistant", "content": content, "refusal": None}}
    rest = {"logprobs": None, "finish_reason": "stop"}
    choices = [{"index": index, **choice, **rest} for index in range(_amount(request, "n"))]
    written = len(content.split()) * len(choices)
    return {
        "id": f"chatcmpl-{digest.hex()[:24]}",
        "object": "chat.completion",
        "created": CREATED,
        "model": request["model"],
        "choices": choices,
        "usage": _usage("prompt_tokens", sum(len(t.split()) for t in texts), written),
        "system_fingerprint": "simulated",
        "simulated": True,
    }


def _text(message: object) -> str:
    content = message.get("content") if isinstance(message, dict) else message
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return " ".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _prose(digest: bytes, words: int) -> str:
    start = digest[0] % len(_WORDS)
    return " ".join(itertools.islice(itertools.cycle(_WORDS), start, start + words))


def _amount(request: dict[str, Any], name: str) -> int:
    amount = request.get(name)
    if amount is None:
        return 1
    if type(amount) is not int or not 1 <= amount <= 16:
        raise Refused(f"{name} must be an integer from 1 to 16.", param=name)
    return amount


def _usage(input_name: str, read: int, written: int) -> dict[str, Any]:
    output_name = "completion_tokens" if input_name == "prompt_tokens" else "output_tokens"
    total = {"total_tokens": read + written, "counted_as": "words"}
    return {input_name: read, output_name: written, **total}


def embeddings(request: dict[str, Any], digest: bytes, tokens: int) -> dict[str, Any]:
    """A unit vector for each input, which depends on the text alone.

    Raises:
        Refused: `input` or `dimensions` is missing or odd.
    """
    dimensions = request.get("dimensions", DEFAULT_DIMENSIONS)
    if type(dimensions) is not int or not 1 <= dimensions <= 8192:
        raise Refused("dimensions must be an integer from 1 to 8192.", param="dimensions")
    inputs = _inputs(request.get("input"))
    pack = _base64_floats if request.get("encoding_format") == "base64" else list[float]
    rows = [
        {"object": "embedding", "index": index, "embedding": pack(_unit_vector(item, dimensions))}
        for index, item in enumerate(inputs)
    ]
    read = sum(len(item.split()) if isinstance(item, str) else len(item) for item in inputs)
    usage = {"prompt_tokens": read, "total_tokens": read, "counted_as": "words"}
    return {
        "object": "list",
        "data": rows,
        "model": request["model"],
        "usage": usage,
        "simulated": True,
    }


def _inputs(value: object) -> list[Any]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and value:
        if all(type(item) is int for item in value):
            return [value]
        if all(isinstance(item, str | list) for item in value):
            return value
    raise Refused("input must be a text, or a list of texts or of tokens.", param="input")


def _unit_vector(item: object, dimensions: int) -> list[float]:
    key = hashlib.blake2b(repr(item).encode(errors="replace"), digest_size=16).digest()
    gauss = random.Random(key).gauss  # noqa: S311 - no secret, only repeatable
    vector = [gauss(0, 1) for _ in range(dimensions)]
    length = math.sqrt(sum(value * value for value in vector)) or 1.0
    return [value / length for value in vector]


def _base64_floats(vector: list[float]) -> str:
    return base64.b64encode(array.array("f", vector).tobytes()).decode()


def images(request: dict[str, Any], digest: bytes, tokens: int) -> dict[str, Any]:
    """Small plain PNGs, their colour drawn from the request.

    Raises:
        Refused: `prompt` is missing.
    """
    prompt = request.get("prompt")
    if not isinstance(prompt, str) or not prompt:
        raise Refused("prompt must be a text.", param="prompt")
    pictures = [_png(digest[index : index + 3]) for index in range(_amount(request, "n"))]
    return {
        "created": CREATED,
        "data": [{"b64_json": base64.b64encode(picture).decode()} for picture in pictures],
        "output_format": "png",
        "usage": _usage("input_tokens", len(prompt.split()), len(pictures)),
        "simulated": True,
    }


def _png(colour: bytes, size: int = 8) -> bytes:
    """A square of one colour (three bytes: red, green, blue)."""
    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    pixels = zlib.compress((b"\0" + colour * size) * size)
    parts = [(b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in parts
    )


Answer = Callable[[dict[str, Any], bytes, int], dict[str, Any]]
ENDPOINTS: dict[str, Answer] = {
    "/v1/chat/completions": chat,
    "/v1/embeddings": embeddings,
    "/v1/images/generations": images,
}
