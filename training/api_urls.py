"""Routes of /api/v1/ for what machines make of it."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
