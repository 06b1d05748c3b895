"""The transport that the settings name, for whoever calls an upstream."""

from django.conf import settings

from batches.executor.http_transport import HttpTransport
from batches.executor.transport import Transport


def make_transport() -> Transport:
    """The transport that the settings name. To be called inside a running loop."""
    most = settings.BATCH_MAX_ANSWER_BYTES
    if settings.TRANSPORT == "aiohttp":
        # A sixth of the time that every process takes to start, and few ever need it.
        from batches.executor.aiohttp_transport import AiohttpTransport  # noqa: PLC0415

        return AiohttpTransport(max_bytes=most, proxy=settings.UPSTREAM_PROXY)
    return HttpTransport(max_bytes=most)
