"""Runs request lines against upstreams: plain asyncio, no Django, no database.

Read it in this order: `work` (what goes in and who is asked), `lines` (bytes in, bytes out), `retry` (what an
answer means), `outage` (when an upstream counts as down), `pool` (whose line is next), `engine` (the loop).
`transport` is the interface to HTTP, `aiohttp_transport` the one that is used.
"""
