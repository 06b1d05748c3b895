"""The bytes of a file as an HTTP answer: whole, in a range, or not at all because the caller has them."""

import re

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header, parse_etags

from api.errors import ApiError
from files.content import open_file
from files.models import File, Purpose

RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
# The others cannot be downloaded from OpenAI either; contract.md 5.2.
DOWNLOADABLE = {Purpose.BATCH, Purpose.BATCH_OUTPUT, Purpose.FINE_TUNE, Purpose.EVALS}


class RangeNotSatisfiable(ApiError):
    status_code = 416


def download(request: HttpRequest, file: File) -> HttpResponseBase:
    """Answer with the bytes of `file`, in blocks of 1 MB. They never change, so its id is their ETag.

    One range is served; several at once, or one that cannot be read, is answered with the whole.
    Raises ApiError; RangeNotSatisfiable when the range begins after the end.
    """
    if file.purpose not in DOWNLOADABLE:
        raise ApiError(f"Not allowed to download files of purpose: {file.purpose}")
    return serve(request, file)


def serve(request: HttpRequest, file: File) -> HttpResponseBase:
    """The same for a file of any purpose."""
    etag = f'"{file.pk}"'
    if _is_known(request, etag):
        response: HttpResponseBase = HttpResponse(status=304)
    else:
        response = _content(request, file, etag)
    response["ETag"] = etag
    response["Cache-Control"] = "private, no-store"
    return response


def _content(request: HttpRequest, file: File, etag: str) -> HttpResponseBase:
    wanted = _range(request, file.bytes, etag)
    start, end = wanted or (0, file.bytes)
    response: HttpResponseBase
    if request.method == "HEAD":
        response = HttpResponse()
    else:
        response = StreamingHttpResponse(open_file(file, start, end - start))
    response.status_code = 206 if wanted else 200
    if wanted:
        response["Content-Range"] = f"bytes {start}-{end - 1}/{file.bytes}"
    response["Content-Type"] = "application/jsonl"
    response["Content-Length"] = str(end - start)
    response["Content-Disposition"] = content_disposition_header(True, file.filename) or ""
    response["Accept-Ranges"] = "bytes"
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = "sandbox"
    return response


def _is_known(request: HttpRequest, etag: str) -> bool:
    known = parse_etags(request.META.get("HTTP_IF_NONE_MATCH", ""))
    return "*" in known or any(one.removeprefix("W/") == etag for one in known)


def _range(request: HttpRequest, size: int, etag: str) -> tuple[int, int] | None:
    """Return the first byte asked for and the one after the last, or None for the whole file."""
    match = RANGE.fullmatch(request.META.get("HTTP_RANGE", ""))
    if match is None or request.META.get("HTTP_IF_RANGE", etag) != etag:
        return None
    first, last = match.groups()
    if first:
        start, end = int(first), min(int(last or size) + 1, size)
    else:
        start, end = max(size - int(last or 0), 0), size
    if last and first and int(last) < int(first):
        return None
    if start >= end:
        raise _unsatisfiable(size)
    return start, end


def _unsatisfiable(size: int) -> RangeNotSatisfiable:
    error = RangeNotSatisfiable(
        f"The range lies outside the file, which has {size} bytes.", code="invalid_range"
    )
    error.headers = {"Content-Range": f"bytes */{size}"}
    return error
