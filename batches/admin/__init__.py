"""Batches and what runs them, for operators: rows of the machine are to look at, acts go through `batches.acts`."""

from batches.admin import batches, files, fleet, owners, shards, traffic, upstreams

__all__ = ["batches", "files", "fleet", "owners", "shards", "traffic", "upstreams"]
