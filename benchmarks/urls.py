"""The service's pages and, beside them, what `GET /batches/{id}` is compared with on the same server."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import path
from rest_framework import serializers
from rest_framework.authentication import TokenAuthentication
from rest_framework.generics import RetrieveAPIView
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from batches.models import Batch
from config.urls import urlpatterns as pages


def plain(request: HttpRequest) -> HttpResponse:
    return HttpResponse(b'{"status":"ok"}', content_type="application/json")


class Trivial(APIView):
    """The least a DRF view with a key does: DRF's own token, one constant answer."""

    authentication_classes = [TokenAuthentication]
    permission_classes = [IsAuthenticated]

    def get(self, request: Request) -> Response:
        return Response({"status": "ok"})


class BatchModelSerializer(serializers.ModelSerializer[Batch]):
    class Meta:
        model = Batch
        fields = "__all__"


class Usual(RetrieveAPIView[Any]):
    """The usual shape of a DRF view: token, queryset, ModelSerializer."""

    authentication_classes = [TokenAuthentication]
    permission_classes = [IsAuthenticated]
    queryset = Batch.objects.all()
    serializer_class = BatchModelSerializer


urlpatterns = [
    *pages,
    path("plain", plain),
    path("trivial", Trivial.as_view()),
    path("usual/<str:pk>", Usual.as_view()),
]
