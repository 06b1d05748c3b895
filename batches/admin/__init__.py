"""Batches and what runs them, for operators: rows of the machine are to look at, acts go through `batches.acts`."""

from batches.admin import batches, fleet, shards, upstreams

__all__ = ["batches", "fleet", "shards", "upstreams"]
