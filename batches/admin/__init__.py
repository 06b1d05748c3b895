"""Batches and what runs them, for operators: rows of the machine are to look at, acts go through `batches.acts`."""

from batches.admin import batches, fleet, owners, shards, traffic, upstreams

__all__ = ["batches", "fleet", "owners", "shards", "traffic", "upstreams"]
