"""What the ids of one kind of resource look like, and how its absence is told."""

import dataclasses
import re

from api.errors import ApiError, NotFound, echo


@dataclasses.dataclass(frozen=True, slots=True)
class Resource:
    """One kind of resource. `word` begins its ids; `unknown` is a message with a place for the id."""

    word: str
    unknown: str
    param: str | None = None

    def not_found(self, given: str, param: str | None = None) -> NotFound:
        """Return the one refusal of an id: unknown, malformed, expired or somebody else's."""
        return NotFound(self.unknown.format(echo(given)), param=param or self.param)

    def wrong_prefix(self, given: str, param: str) -> ApiError:
        return ApiError(
            f"Invalid '{param}': '{echo(given)}'. Expected an ID that begins with '{self.word}'.",
            code="invalid_value",
            param=param,
        )

    def is_id(self, given: str) -> bool:
        """Tell whether the service could have made this id; no other is looked for in the database."""
        return re.fullmatch(rf"{self.word}[-_][0-9a-f]{{32}}", given) is not None


FILE = Resource("file", "No such File object: {}", param="id")
BATCH = Resource("batch", "No batch found with id '{}'.")
