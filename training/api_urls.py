"""Routes of /api/v1/ for what machines make of it."""

from django.urls import path

from training import api

app_name = "training"
urlpatterns = [
    path("projects/<slug:slug>/snapshots/", api.Snapshots.as_view(), name="snapshots"),
    path("projects/<slug:slug>/snapshots/<uuid:id>/", api.SnapshotDetail.as_view(), name="snapshot"),
    path("projects/<slug:slug>/snapshots/<uuid:id>/download/", api.SnapshotDownload.as_view(), name="download"),
    path("projects/<slug:slug>/snapshots/preview/", api.SnapshotPreview.as_view(), name="preview"),
    path("projects/<slug:slug>/snapshots/<uuid:id>/formats/", api.SnapshotFormats.as_view(), name="formats"),
    path("projects/<slug:slug>/snapshots/<uuid:id>/exports/", api.SnapshotExports.as_view(), name="exports"),
    path("projects/<slug:slug>/snapshots/<uuid:id>/leaks/", api.SnapshotLeaks.as_view(), name="leaks"),
    path("projects/<slug:slug>/snapshots/<uuid:id>/difference/", api.SnapshotDifference.as_view(), name="difference"),
    path("projects/<slug:slug>/jobs/<uuid:id>/", api.JobDetail.as_view(), name="job"),
    path("projects/<slug:slug>/runs/", api.Runs.as_view(), name="runs"),
    path("projects/<slug:slug>/runs/<uuid:id>/", api.RunDetail.as_view(), name="run"),
    path("projects/<slug:slug>/runs/<uuid:id>/metrics/", api.RunMetrics.as_view(), name="metrics"),
    path("projects/<slug:slug>/runs/<uuid:id>/cancel/", api.RunCancel.as_view(), name="cancel"),
    path("projects/<slug:slug>/runs/<uuid:id>/pause/", api.RunPause.as_view(), name="pause"),
    path("projects/<slug:slug>/runs/<uuid:id>/resume/", api.RunResume.as_view(), name="resume"),
    path("projects/<slug:slug>/runs/<uuid:id>/retry/", api.RunRetry.as_view(), name="retry"),
    path("projects/<slug:slug>/models/", api.Models.as_view(), name="models"),
]
