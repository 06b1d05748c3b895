"""The Batch API. Each method: read the request, one domain call, answer."""

from typing import cast

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.authentication import Caller
from api.errors import Conflict
from api.limits import BATCH_PAGE
from api.pagination import page, page_query
from api.resources import BATCH
from api.schema import ON_BEHALF_OF, refusals
from batches import lifecycle
from batches.models import Batch
from batches.serializers import (
    BatchCreateSerializer,
    BatchPageSerializer,
    BatchSerializer,
    represent_batch,
)

TAG = ["Batches"]


class BatchList(APIView):
    scope = "batches"
    adds = ("POST",)  # the methods by which something new comes

    @extend_schema(
        operation_id="list_batches",
        summary="List your batches, newest first",
        tags=TAG,
        parameters=[
            OpenApiParameter("after", str, description="The last id of the page before."),
            OpenApiParameter(
                "limit", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}
            ),
            ON_BEHALF_OF,
        ],
        responses={200: BatchPageSerializer, **refusals(400, 404)},
    )
    def get(self, request: Request) -> Response:
        query = page_query(request.query_params, BATCH_PAGE)
        own = Batch.objects.owned_by(cast(Caller, request.user).owner)
        return Response(page(own, query, BATCH, represent_batch))

    @extend_schema(
        operation_id="create_batch",
        summary="Create a batch from an uploaded file",
        tags=TAG,
        parameters=[ON_BEHALF_OF],
        request=BatchCreateSerializer,
        responses={200: BatchSerializer, **refusals(400, 413, 415)},
    )
    def post(self, request: Request) -> Response:
        asked = BatchCreateSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        caller = cast(Caller, request.user)
        batch = lifecycle.submit(caller.owner, caller.key.prefix, **asked.validated_data)
        return Response(represent_batch(batch))


class BatchDetail(APIView):
    scope = "batches"

    @extend_schema(
        operation_id="retrieve_batch",
        summary="Get a batch",
        tags=TAG,
        parameters=[ON_BEHALF_OF],
        responses={200: BatchSerializer, **refusals(400, 404)},
    )
    def get(self, request: Request, batch_id: str) -> Response:
        return Response(represent_batch(_find(request, batch_id)))


class BatchCancel(APIView):
    scope = "batches"

    @extend_schema(
        operation_id="cancel_batch",
        summary="Cancel a batch; what is done is kept",
        tags=TAG,
        parameters=[ON_BEHALF_OF],
        request=None,
        responses={200: BatchSerializer, **refusals(400, 404, 409)},
    )
    def post(self, request: Request, batch_id: str) -> Response:
        batch = _find(request, batch_id)
        caller = cast(Caller, request.user)
        try:
            lifecycle.cancel(batch, actor=caller.key.prefix)
        except Batch.Conflict as conflict:
            text = f"Cannot cancel a batch with status '{conflict.status}'."
            raise Conflict(text) from conflict
        return Response(represent_batch(batch))


def _find(request: Request, batch_id: str) -> Batch:
    """The caller's batch of this id; anybody else's is as absent as one that never was."""
    if not batch_id.startswith(BATCH.word):
        raise BATCH.wrong_prefix(batch_id, "batch_id")
    caller = cast(Caller, request.user)
    batch = Batch.objects.own(caller.owner, batch_id) if BATCH.is_id(batch_id) else None
    if batch is None:
        raise BATCH.not_found(batch_id)
    return cast(Batch, batch)
