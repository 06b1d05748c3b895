"""The Files API: upload, list, retrieve, download, delete."""

import re
from typing import cast

from django.db.models import QuerySet
from django.http import QueryDict, UnreadablePostError
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.authentication import Caller
from api.errors import ApiError, Conflict, Unavailable, echo, invalid_value
from api.limits import FILE_PAGE
from api.pagination import page, page_query
from api.resources import FILE
from api.schema import ON_BEHALF_OF, refusals
from files.download import download
from files.models import File, Purpose
from files.serializers import (
    DeletedFileSerializer,
    FilePageSerializer,
    FileSerializer,
    UploadFormSerializer,
)
from files.storage import Stored, storage
from files.sweep import Held, delete_file
from files.upload import Upload, check_early, receive, save

TAGS = ["Files"]
SHA256 = re.compile(r"[0-9a-f]{64}")


class FilesView(APIView):
    scope = "files"

    def files(self) -> QuerySet[File]:
        """Return the caller's own files that have not expired."""
        caller = cast(Caller, self.request.user)
        return File.objects.owned_by(caller.owner).live(caller.now)

    def get_file(self, file_id: str) -> File:
        """Return one of them. Raises NotFound, the same for any id that is not."""
        caller = cast(Caller, self.request.user)
        file = File.objects.own(caller.owner, file_id) if FILE.is_id(file_id) else None
        if file is None or file.is_expired(caller.now):
            raise FILE.not_found(file_id)
        return cast(File, file)


class FileList(FilesView):
    adds = ("POST",)  # the methods by which something new comes

    @extend_schema(
        operation_id="list_files",
        summary="List files",
        tags=TAGS,
        parameters=[
            ON_BEHALF_OF,
            OpenApiParameter("purpose", str, enum=Purpose.values),
            OpenApiParameter("sha256", str, description="Of the content, as a file shows it."),
            OpenApiParameter("limit", int, description="1 to 10000; 10000 if not given."),
            OpenApiParameter("order", str, enum=["asc", "desc"], description="By `created_at`."),
            OpenApiParameter("after", str, description="The last id of the page before."),
        ],
        responses={200: FilePageSerializer, **refusals(400, 404)},
    )
    def get(self, request: Request) -> Response:
        query = page_query(request.query_params, FILE_PAGE, ordered=True)
        files = _narrow(self.files(), request.query_params)
        return Response(page(files, query, FILE, FileSerializer().to_representation))

    @extend_schema(
        operation_id="upload_file",
        summary="Upload a file",
        tags=TAGS,
        parameters=[ON_BEHALF_OF],
        request={"multipart/form-data": UploadFormSerializer},
        responses={200: FileSerializer, **refusals(400, 411, 413, 415)},
    )
    def post(self, request: Request) -> Response:
        """The file is durable before the answer: its bytes, its name, its row, in this order."""
        caller = cast(Caller, request.user)
        check_early(caller.owner, request._request)
        file = save(caller.owner, *_store(request))
        return Response(FileSerializer(file).data)


class FileDetail(FilesView):
    @extend_schema(
        operation_id="retrieve_file",
        summary="Retrieve a file's description",
        tags=TAGS,
        parameters=[ON_BEHALF_OF],
        responses={200: FileSerializer, **refusals(404)},
    )
    def get(self, request: Request, file_id: str) -> Response:
        return Response(FileSerializer(self.get_file(file_id)).data)

    @extend_schema(
        operation_id="delete_file",
        summary="Delete a file",
        tags=TAGS,
        parameters=[ON_BEHALF_OF],
        responses={200: DeletedFileSerializer, **refusals(404, 409)},
    )
    def delete(self, request: Request, file_id: str) -> Response:
        file = self.get_file(file_id)
        try:
            delete_file(file)
        except Held:
            raise Conflict(
                f"File {file_id} is the input of a batch that has not ended. "
                "Cancel the batch first, or wait for its end.",
                code="file_in_use",
            ) from None
        return Response({"id": file_id, "object": "file", "deleted": True})


class FileContent(FilesView):
    @extend_schema(
        operation_id="download_file",
        summary="Download a file's content",
        tags=TAGS,
        parameters=[
            ON_BEHALF_OF,
            OpenApiParameter("Range", str, OpenApiParameter.HEADER, description="One range."),
        ],
        responses={
            (200, "application/jsonl"): OpenApiTypes.BINARY,
            (206, "application/jsonl"): OpenApiTypes.BINARY,
            304: None,
            **refusals(400, 404, 416),
        },
    )
    def get(self, request: Request, file_id: str) -> HttpResponseBase:
        return download(request, self.get_file(file_id))


def _narrow(files: QuerySet[File], params: QueryDict) -> QuerySet[File]:
    """Keep what `purpose` and `sha256` ask for, the filters of the SDKs."""
    purpose, sha256 = params.get("purpose"), params.get("sha256")
    if purpose is not None:
        if purpose not in Purpose.values:
            raise invalid_value("purpose", purpose, Purpose.values)
        files = files.filter(purpose=purpose)
    if sha256 is not None:
        if not SHA256.fullmatch(sha256):
            raise ApiError(
                f"Invalid 'sha256': '{echo(sha256)}'. Expected 64 hex digits in lower case.",
                code="invalid_value",
                param="sha256",
            )
        files = files.filter(sha256=sha256)
    return files


def _store(request: Request) -> tuple[Upload, Stored]:
    """Bring the file of the request into the storage, or leave nothing there."""
    try:
        with storage().writer() as writer:
            upload = receive(request._request, writer)
            return upload, writer.commit()
    except UnreadablePostError:
        raise
    except OSError as error:
        raise Unavailable(
            "The storage cannot take the file now. Try again later.", code="storage_unavailable"
        ) from error
