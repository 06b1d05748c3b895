"""Runs request lines against upstreams: plain asyncio, no Django, no database.

Read it in this order: `work` (what goes in and who is asked), `lines` (bytes in, bytes out), `retry` (what an
answer means), `outage` (when an upstream counts as down), `pool` (whose line is next), `engine` (the loop).
`recorder` hands results over, `spool` keeps them safe until then. `transport` is the interface to HTTP,
`http_transport` what is used unless the settings name `aiohttp_transport`.
"""
