"""multipart/form-data, read part by part as it arrives.

Django's parser finds the parts; its own loop over them is not used, because it decodes base64 parts,
takes a body without its last boundary for a whole one, and holds every field until the end.
"""

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

from django.http import HttpRequest
from django.http.multipartparser import (
    FIELD,
    FILE,
    ChunkIter,
    LazyStream,
    MultiPartParserError,
    Parser,
)
from django.utils.http import parse_header_parameters

from api.errors import ApiError, TooLarge, UnsupportedType, echo
from api.limits import FORM_FIELD_BYTES, FORM_PARTS

PIECE = 256 * 1024  # the fastest size for Django's parser; 64 KB takes half as long again
TAIL = 1024  # the last boundary, and what may follow it
BOUNDARY = re.compile(r"[ -~]{0,199}[!-~]")
PLAIN_ENCODINGS = {"7bit", "8bit", "binary"}


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """One part. `filename` is None for a field. Its content is read before the next part, or lost."""

    name: str
    filename: str | None
    content: LazyStream

    def text(self) -> str:
        """Return a field's value. Raises TooLarge."""
        value = self.content.read(FORM_FIELD_BYTES + 1)
        if len(value) > FORM_FIELD_BYTES:
            raise TooLarge(
                f"The field '{echo(self.name)}' is longer than {FORM_FIELD_BYTES} bytes.",
                code="request_too_large",
                param=echo(self.name),
            )
        return value.decode(errors="replace")


def read_parts(body: HttpRequest, content_type: str) -> Iterator[Part]:
    """Yield the parts of a form in their order. Whoever stops early has read no more than a piece ahead.

    Raises ApiError `invalid_multipart`, also after the last part when the body ended without its
    last boundary; UnsupportedType for any other Content-Type.
    """
    boundary = _boundary(content_type)
    pieces = _Pieces(body, PIECE)
    count = 0
    try:
        for kind, headers, content in Parser(LazyStream(pieces), boundary):
            if kind in (FIELD, FILE):
                count += 1
                if count > FORM_PARTS:
                    raise ApiError(
                        f"The form has more than {FORM_PARTS} parts.", code="too_many_fields"
                    )
                yield _part(headers, content)
            for _ in content:  # what nobody wanted
                pass
    except MultiPartParserError:
        raise _invalid("the headers of a part are too long.") from None
    is_short = pieces.size < int(body.META.get("CONTENT_LENGTH") or 0)
    if is_short or b"--" + boundary + b"--" not in pieces.last:
        raise _invalid("it ends too early.")


def _boundary(content_type: str) -> bytes:
    kind, parameters = parse_header_parameters(content_type)
    if kind != "multipart/form-data":
        raise UnsupportedType(
            "Send the file as multipart/form-data, in the part 'file'.", code="unsupported_type"
        )
    boundary = parameters.get("boundary", "")
    if not BOUNDARY.fullmatch(boundary):
        raise _invalid("its Content-Type names no boundary of 1 to 200 ASCII characters.")
    return boundary.encode()


def _part(headers: dict[str, tuple[str, dict[str, Any]]], content: LazyStream) -> Part:
    encoding = headers.get("content-transfer-encoding", ("binary", {}))[0].strip().lower()
    if encoding not in PLAIN_ENCODINGS:
        raise _invalid("a part has a Content-Transfer-Encoding. Send its bytes as they are.")
    parameters = headers["content-disposition"][1]
    name = parameters.get("name", b"").decode(errors="replace")
    filename = parameters.get("filename")
    return Part(name, filename.decode(errors="replace") if filename else None, content)


def _invalid(what: str) -> ApiError:
    return ApiError(f"The body is not valid multipart/form-data: {what}", code="invalid_multipart")


class _Pieces(ChunkIter):
    """A body in pieces, which are counted, and of which the last bytes are remembered."""

    size = 0
    last = b""

    def __next__(self) -> bytes:
        piece = super().__next__()
        self.size += len(piece)
        self.last = (self.last + piece[-TAIL:])[-TAIL:]
        return piece
