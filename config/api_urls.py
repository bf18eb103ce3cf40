"""Routes of /api/v1/: each app brings its own."""

from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

urlpatterns = [
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
    path("docs/", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="swagger"),
    path("", include("annotation.api_urls")),
    path("", include("training.api_urls")),
]
