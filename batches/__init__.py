"""Batch and its shards: validation, execution, results, and everything that shows them."""
