"""One upload: from the request's body into the storage, then into the database."""

import dataclasses
import datetime
import re
from collections.abc import Sequence
from typing import Any

import msgspec
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest

from accounts.models import Limited, Owner
from api.clock import database_now
from api.errors import ApiError, Forbidden, TooLarge, UnsupportedType, missing_parameter
from api.limits import FILENAME_BYTES, FORM_OVERHEAD_BYTES
from files.content import save_blob, save_file
from files.models import File, Purpose
from files.multipart import Part, read_parts
from files.serializers import UploadSerializer
from files.storage import Stored, Writer, storage

FIELDS = ("purpose", "expires_after[anchor]", "expires_after[seconds]")
NOT_JSONL = "Invalid file format for Batch API. Must be .jsonl"  # contract.md 5.2
HEAD_BYTES = 64 * 1024  # a first line longer than this is left to validation
NUMBER = re.compile(r"-?[0-9]{1,18}")
NO_NAMES = {"", ".", "..", "blob"}  # "blob" is what a browser calls a file without a name


@dataclasses.dataclass(slots=True)
class Form:
    """What has arrived of an upload: its fields, and of its file everything but the bytes."""

    fields: dict[str, str]
    filename: str | None = None
    received: int = 0  # bytes of the file so far
    head: bytes = b""  # at most HEAD_BYTES from the start of the file

    @property
    def max_bytes(self) -> int:
        is_batch = self.fields.get("purpose") == Purpose.BATCH
        return settings.BATCH_FILE_MAX_BYTES if is_batch else settings.FILE_MAX_BYTES


@dataclasses.dataclass(frozen=True, slots=True)
class Upload:
    """An upload that may become a File."""

    filename: str
    purpose: str
    expires_after_seconds: int | None


def check_early(owner: Owner, request: HttpRequest) -> None:
    """Refuse by its announced length what has no room, before it fills the disk for a while. Raises Forbidden."""
    length = int(request.META.get("CONTENT_LENGTH") or 0)
    _check_room(owner.limits("max_stored_bytes"), max(0, length - FORM_OVERHEAD_BYTES))


def receive(request: HttpRequest, writer: Writer) -> Upload:
    """Stream the file of a request's form into `writer` and return the rest of it, checked.

    The order of the fields does not matter. Nothing is committed; memory is bounded by a piece.
    Raises ApiError; TooLarge before the body is read where its length says so.
    """
    if request.META.get("HTTP_CONTENT_ENCODING", "identity") != "identity":
        raise UnsupportedType("Send the body without Content-Encoding.", code="unsupported_type")
    length = int(request.META.get("CONTENT_LENGTH") or 0)
    form = Form({})
    _check_length(form, length)
    for part in read_parts(request, request.META.get("CONTENT_TYPE", "")):
        if part.filename is None:
            _take_field(form, part)
        else:
            _start_file(form, part)
            _check_length(form, length)
            _take_file(form, part, writer)
    return _checked(form)


def _check_room(limits: Sequence[tuple[Limited, int]], size: int) -> None:
    """Raise Forbidden if so many bytes more are beyond one of these limits."""
    for holder, limit in limits:
        used = File.objects.of(holder).stored_bytes()
        if used + size > limit:
            text = f"{holder} may store {limit} bytes, and {used} are stored. Delete files, or ask your operator."
            raise Forbidden(text, code="storage_limit_reached", param="file")


def save(owner: Owner, upload: Upload, stored: Stored) -> File:
    """Write the rows of a file whose bytes are durable. Raises Forbidden, and the bytes are gone, if there is no room."""
    created_at = database_now()
    seconds = upload.expires_after_seconds
    if seconds is None and upload.purpose == Purpose.BATCH:
        seconds = settings.FILE_EXPIRES_SECONDS
    file = File(
        account=owner.account,
        external_user=owner.external_user,
        filename=upload.filename,
        purpose=upload.purpose,
        sha256=stored.sha256,
        created_at=created_at,
        expires_at=None if seconds is None else created_at + datetime.timedelta(seconds=seconds),
    )
    try:
        with transaction.atomic():
            _check_room(owner.locked_limits("max_stored_bytes"), stored.bytes)
            return save_file(file, [save_blob(stored)])
    except Forbidden:
        storage().delete(stored.key)
        raise


def label(filename: str) -> str:
    """Return what is kept of a file's name: its last part, printable, at most 255 bytes of UTF-8.

    It is shown to people and never names anything in the storage.
    """
    base = re.split(r"[/\\]", filename)[-1]
    name = "".join(character for character in base if character.isprintable()).strip()
    stem, dot, suffix = name.rpartition(".")
    if len(suffix.encode()) > 16:
        stem, dot, suffix = name, "", ""
    room = FILENAME_BYTES - len((dot + suffix).encode())
    return stem.encode()[:room].decode(errors="ignore") + dot + suffix


def _take_field(form: Form, part: Part) -> None:
    if part.name in form.fields:
        raise ApiError(
            f"The field '{part.name}' is there twice.", code="duplicate_field", param=part.name
        )
    value = part.text()
    if part.name in FIELDS:  # others are the SDKs' and of no use here
        form.fields[part.name] = value


def _start_file(form: Form, part: Part) -> None:
    if form.filename is not None:
        raise ApiError("Send one file at a time.", code="too_many_files", param="file")
    if part.name != "file":
        raise missing_parameter("file")
    form.filename = label(part.filename or "")
    if form.filename in NO_NAMES:
        raise ApiError(
            "The part 'file' needs a filename.", code="missing_required_parameter", param="file"
        )


def _take_file(form: Form, part: Part, writer: Writer) -> None:
    for piece in part.content:
        form.received += len(piece)
        if form.received > form.max_bytes:
            raise _too_large(form.max_bytes)
        if len(form.head) < HEAD_BYTES:
            form.head += piece[: HEAD_BYTES - len(form.head)]
        writer.write(piece)


def _check_length(form: Form, length: int) -> None:
    if length > form.max_bytes + FORM_OVERHEAD_BYTES:
        raise _too_large(form.max_bytes)


def _too_large(most: int) -> TooLarge:
    return TooLarge(
        f"The file is too large. At most {most} bytes are taken.",
        code="file_too_large",
        param="file",
    )


def _checked(form: Form) -> Upload:
    serializer = UploadSerializer(data=_nested(form.fields))
    serializer.is_valid(raise_exception=True)
    fields = serializer.validated_data
    if form.filename is None:
        raise missing_parameter("file")
    if form.received > form.max_bytes:  # its purpose came after the file
        raise _too_large(form.max_bytes)
    if fields["purpose"] == Purpose.BATCH:
        _check_batch_file(form)
    if not form.received:
        raise ApiError("The file is empty.", code="empty_file", param="file")
    expires_after = fields.get("expires_after")
    seconds = expires_after["seconds"] if expires_after else None
    return Upload(form.filename, fields["purpose"], seconds)


def _nested(fields: dict[str, str]) -> dict[str, Any]:
    """Give the form's flat fields the shape they have in JSON."""
    given: dict[str, Any] = {}
    for name, value in fields.items():
        outer, bracket, inner = name.rstrip("]").partition("[")
        if bracket:
            number = int(value) if inner == "seconds" and NUMBER.fullmatch(value) else value
            given.setdefault(outer, {})[inner] = number
        else:
            given[outer] = value
    return given


def _check_batch_file(form: Form) -> None:
    """Refuse at once what no batch could run; every other line is looked at by validation."""
    line, newline, _ = form.head.removeprefix(b"\xef\xbb\xbf").partition(b"\n")
    is_whole = bool(newline) or form.received == len(form.head)
    broken = is_whole and line.strip() and not _is_json(line)
    if not str(form.filename).lower().endswith(".jsonl") or not form.received or broken:
        raise ApiError(NOT_JSONL)


def _is_json(line: bytes) -> bool:
    try:
        msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return False
    return True
