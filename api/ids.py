"""Public ids: a prefix that tells the kind, then 32 hex digits nobody can guess."""

import secrets


def new_id(prefix: str) -> str:
    """Return `prefix` and 32 random hex digits, for example `batch_` + ..."""
    return prefix + secrets.token_hex(16)


def new_batch_id() -> str:
    return new_id("batch_")


def new_file_id() -> str:
    return new_id("file-")
