"""Routes of /api/v1/ for what machines make of it."""

from django.urls import path

from training import api, api_control

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
    path("projects/<slug:slug>/snapshots/<uuid:id>/push/", api.SnapshotPush.as_view(), name="push"),
    path("projects/<slug:slug>/snapshots/<uuid:id>/tokens/", api.SnapshotTokens.as_view(), name="tokens"),
    path("projects/<slug:slug>/jobs/<uuid:id>/", api.JobDetail.as_view(), name="job"),
    path("projects/<slug:slug>/runs/", api.Runs.as_view(), name="runs"),
    path("projects/<slug:slug>/runs/queue/", api_control.RunQueue.as_view(), name="run_queue"),
    path("projects/<slug:slug>/runs/<uuid:id>/", api.RunDetail.as_view(), name="run"),
    path("projects/<slug:slug>/runs/<uuid:id>/metrics/", api.RunMetrics.as_view(), name="metrics"),
    path("projects/<slug:slug>/runs/<uuid:id>/cancel/", api.RunCancel.as_view(), name="cancel"),
    path("projects/<slug:slug>/runs/<uuid:id>/pause/", api.RunPause.as_view(), name="pause"),
    path("projects/<slug:slug>/runs/<uuid:id>/resume/", api.RunResume.as_view(), name="resume"),
    path("projects/<slug:slug>/runs/<uuid:id>/retry/", api.RunRetry.as_view(), name="retry"),
    path("projects/<slug:slug>/runs/<uuid:id>/move/", api_control.RunMove.as_view(), name="move"),
    path("projects/<slug:slug>/runs/<uuid:id>/checkpoints/", api_control.Checkpoints.as_view(), name="checkpoints"),
    path("projects/<slug:slug>/runs/<uuid:id>/delete/", api_control.RunDelete.as_view(), name="delete"),
    path("projects/<slug:slug>/notices/", api_control.Notices.as_view(), name="notices"),
    path("projects/<slug:slug>/webhooks/", api_control.Webhooks.as_view(), name="webhooks"),
    path("projects/<slug:slug>/webhooks/<uuid:id>/", api_control.WebhookDetail.as_view(), name="webhook"),
    path("projects/<slug:slug>/webhooks/<uuid:id>/test/", api_control.WebhookTest.as_view(), name="webhook_test"),
    path("workers/", api_control.Workers.as_view(), name="workers"),
    path("workers/drain/", api_control.WorkerDrain.as_view(), name="worker_drain"),
    path("workers/undrain/", api_control.WorkerUndrain.as_view(), name="worker_undrain"),
    path("projects/<slug:slug>/models/", api.Models.as_view(), name="models"),
]
