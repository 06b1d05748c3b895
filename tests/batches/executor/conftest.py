"""Which event loops a test runs on: transports on both, for workers run uvloop and anything may run the other."""

import asyncio

import uvloop

BOTH = ("test_http_transport.py", "test_http_connections.py")


def pytest_asyncio_loop_factories(config, item):
    plain = {"asyncio": asyncio.new_event_loop}
    return plain | {"uvloop": uvloop.new_event_loop} if item.path.name in BOTH else plain
