"""Routes of /api/v1/ for what people produce."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
