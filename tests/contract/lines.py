"""Request lines to upload, and result lines as they come back."""

import json
from collections.abc import Iterator
from typing import Any

CHAT = "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"
IMAGES = "/v1/images/generations"
MODEL = "simulated"


def body_of(endpoint: str, number: int) -> dict[str, Any]:
    """Return a good request body, with words of its own."""
    text = f"question {number}"
    asked = {
        CHAT: {"messages": [{"role": "user", "content": text}]},
        EMBEDDINGS: {"input": text, "dimensions": 4},
        IMAGES: {"prompt": text},
    }
    return {"model": MODEL, **asked[endpoint]}


def request_line(number: int, endpoint: str = CHAT, **changes: Any) -> bytes:
    """Return one request line; `changes` replace keys of its body."""
    line = {
        "custom_id": f"line-{number}",
        "method": "POST",
        "url": endpoint,
        "body": body_of(endpoint, number) | changes,
    }
    return json.dumps(line).encode() + b"\n"


def request_lines(count: int, endpoint: str = CHAT) -> bytes:
    """Return the lines `line-0` to `line-<count - 1>`."""
    return b"".join(request_line(number, endpoint) for number in range(count))


def refused_line(number: int) -> bytes:
    """Return a line that is a request, and that the simulated upstream answers with a 400."""
    return request_line(number, messages=[])


def results(content: bytes) -> list[dict[str, Any]]:
    """Return the lines of a result file, every one whole."""
    assert content.endswith(b"\n")
    return [json.loads(line) for line in content.splitlines()]


def ids(count: int, first: int = 0) -> list[str]:
    return [f"line-{number}" for number in range(first, first + count)]


def custom_ids(lines: list[dict[str, Any]]) -> Iterator[str]:
    return (line["custom_id"] for line in lines)
