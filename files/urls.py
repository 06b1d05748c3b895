from django.urls import path

from files.views import FileContent, FileDetail, FileList

app_name = "files"
urlpatterns = [
    path("files", FileList.as_view(), name="list"),
    path("files/<str:file_id>", FileDetail.as_view(), name="detail"),
    path("files/<str:file_id>/content", FileContent.as_view(), name="content"),
]
