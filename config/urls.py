"""Every path the service answers."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import TemplateView
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerSplitView

from config.health import livez, readyz

admin.autodiscover()  # before its URLs are asked for

API: list[URLPattern | URLResolver] = [
    path("", include("files.urls")),
    path("", include("batches.urls")),
]
urlpatterns: list[URLPattern | URLResolver] = [
    path("api/v1/llm/", include((API, "llm"))),
    path("v1/", include((API, "v1"))),
    path("", TemplateView.as_view(template_name="index.html"), name="index"),
    path("openapi.json", SpectacularJSONAPIView.as_view(), name="schema"),
    path("docs/", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
    path("livez", livez),
    path("readyz", readyz),
    path("admin/", admin.site.urls),
]
handler400 = "api.views.bad_request"
handler403 = "api.views.permission_denied"
handler404 = "api.views.not_found"
handler500 = "api.views.server_error"
