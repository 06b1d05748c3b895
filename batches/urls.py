"""The Batch API's paths, without the prefix."""

from django.urls import path

from batches.views import BatchCancel, BatchDetail, BatchList

urlpatterns = [
    path("batches", BatchList.as_view(), name="batches"),
    path("batches/<str:batch_id>", BatchDetail.as_view(), name="batch"),
    path("batches/<str:batch_id>/cancel", BatchCancel.as_view(), name="batch-cancel"),
]
