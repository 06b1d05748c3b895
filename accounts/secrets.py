"""Secrets at rest: a text column that is encrypted under keys kept outside the database."""

import functools
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db import models


class UnreadableSecret(Exception):
    """A stored secret was encrypted under a key that FIELD_KEYS no longer names."""


@functools.cache
def _cipher(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])


def encrypt(text: str) -> str:
    return _cipher(tuple(settings.FIELD_KEYS)).encrypt(text.encode()).decode()


def decrypt(token: str) -> str:
    try:
        return _cipher(tuple(settings.FIELD_KEYS)).decrypt(token.encode()).decode()
    except InvalidToken:
        raise UnreadableSecret(
            "A stored secret cannot be read with the present FIELD_KEYS. "
            "Add the key it was written with to FIELD_KEYS, or enter the secret again."
        ) from None


class EncryptedTextField(models.TextField):  # type: ignore[type-arg]  # cannot be subscripted at run time
    """Text in Python, ciphertext in the database. An empty text stays empty."""

    def get_prep_value(self, value: Any) -> Any:
        value = super().get_prep_value(value)
        return encrypt(value) if value else value

    def from_db_value(self, value: str | None, expression: object, connection: object) -> Any:
        return decrypt(value) if value else value
