"""One running service for all contract tests of a session, and a fresh account with its key for each test."""

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support.stack import Stack, stack

CHAT = "/v1/chat/completions"
SETTINGS = {"BATCH_CANCEL_GRACE_SECONDS": "1", "BATCH_SHARD_LINES": "50", "ENGINE_WORKERS": "1"}
TERMINAL = {"completed", "failed", "expired", "cancelled"}
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def _stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack(tmp_path_factory.mktemp("stack"), SETTINGS) as running:
        yield running


@pytest.fixture
def service(_stack: Stack) -> Stack:
    """A service that runs, with an upstream that answers at once and never fails."""
    _stack.upstream.reset()
    return _stack


@pytest.fixture
def key(service: Stack) -> str:
    """The secret of a key of a new account, which may act for its users."""
    return service.key(f"account {next(_numbers)}", "--on-behalf-of", "allowed")


@pytest.fixture(params=["/api/v1/llm", "/v1"])
def client(service: Stack, key: str, request: pytest.FixtureRequest) -> Iterator[openai.OpenAI]:
    """The SDK at each of the two prefixes."""
    with openai.OpenAI(base_url=service.url + request.param, api_key=key) as sdk:
        yield sdk


def request_lines(count: int, url: str = CHAT, **body: Any) -> bytes:
    """Return `count` request lines, `line-0` onwards, each with words of its own."""
    bodies = [{"model": "simulated", **_asking(url, f"word {n}"), **body} for n in range(count)]
    lines = [
        {"custom_id": f"line-{n}", "method": "POST", "url": url, "body": body}
        for n, body in enumerate(bodies)
    ]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def _asking(url: str, text: str) -> dict[str, Any]:
    asking: dict[str, Callable[[], dict[str, Any]]] = {
        "/v1/embeddings": lambda: {"input": text, "dimensions": 4},
        "/v1/images/generations": lambda: {"prompt": text},
    }
    return asking.get(url, lambda: {"messages": [{"role": "user", "content": text}]})()


def ids_of(results: list[dict[str, Any]]) -> list[str]:
    return [result["custom_id"] for result in results]


def read_lines(content: bytes) -> list[dict[str, Any]]:
    """Return the lines of a result file, which ends with a newline."""
    assert content.endswith(b"\n")
    return [json.loads(line) for line in content.splitlines()]
