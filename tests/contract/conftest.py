"""One running service for the contract tests of a session, and callers of it."""

import itertools
from collections.abc import Callable, Iterator

import openai
import pytest

from tests.support.stack import Stack, stack

SETTINGS = {
    "BATCH_FILE_MAX_BYTES": "2000000",
    "BATCH_CANCEL_GRACE_SECONDS": "1",
    "BATCH_SHARD_LINES": "50",
    "ENGINE_WORKERS": "1",
}
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


@pytest.fixture(scope="session")
def shared_key(_stack: Stack) -> str:
    """The secret of a key that may act for its users. Other tests use it too."""
    return _stack.key("shared", "--on-behalf-of", "allowed")


@pytest.fixture
def own_key(service: Stack) -> str:
    """The secret of a key of the test's own account."""
    return service.key(f"account {next(_numbers)}", "--on-behalf-of", "allowed")


@pytest.fixture
def connect(service: Stack, shared_key: str) -> Iterator[Callable[..., openai.OpenAI]]:
    """Make OpenAI clients as a caller does, with a key and a base URL, closed at the end."""
    made: list[openai.OpenAI] = []

    def make(key: str = shared_key, prefix: str = "/v1", **options: object) -> openai.OpenAI:
        client = openai.OpenAI(base_url=service.url + prefix, api_key=key, **options)
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(connect: Callable[..., openai.OpenAI]) -> openai.OpenAI:
    return connect()
