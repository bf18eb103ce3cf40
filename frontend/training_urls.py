"""Addresses below /p/<slug>/ of what machines make: the loop, runs, models, snapshots."""

from django.urls import path

from frontend.views import data, exports, leaks, loop, models, run_control, runs, snapshots, webhooks

LOOP = [
    path("loop/", loop.dashboard, name="dashboard"),
    path("loop/live/", loop.loop_live, name="loop_live"),
    path("loop/hand-out/", loop.hand_out, name="hand_out"),
    path("runs/new/<slug:stage>/", loop.run_new, name="run_new"),
]

RUNS = [
    path("runs/", runs.runs, name="runs"),
    path("runs/queue/", run_control.run_queue, name="run_queue"),
    path("runs/<uuid:run_id>/", runs.run, name="run"),
    path("runs/<uuid:run_id>/live/", runs.run_live, name="run_live"),
    path("runs/<uuid:run_id>/samples/", runs.run_samples, name="run_samples"),
    path("runs/<uuid:run_id>/metrics.json", runs.run_metrics, name="run_metrics"),
    path("runs/<uuid:run_id>/figures/", runs.run_figures, name="run_figures"),
    path("runs/<uuid:run_id>/report.json", runs.run_report, name="run_report"),
    path("runs/<uuid:run_id>/move/", run_control.run_move, name="run_move"),
    path("runs/<uuid:run_id>/delete/", run_control.run_delete, name="run_delete"),
    path("runs/<uuid:run_id>/checkpoints/<int:checkpoint_id>/", run_control.run_checkpoint, name="run_checkpoint"),
    path("runs/<uuid:run_id>/<slug:action>/", runs.run_action, name="run_action"),
]

MODELS = [
    path("models/", models.models, name="models"),
    path("models/register/", models.model_register, name="model_register"),
    path("models/<uuid:model_id>/", models.model, name="model"),
    path("models/<uuid:model_id>/sha256sums.txt", models.model_hashes, name="model_hashes"),
]

SNAPSHOTS = [
    path("snapshots/", snapshots.snapshots, name="snapshots"),
    path("snapshots/new/", snapshots.snapshot_new, name="snapshot_new"),
    path("snapshots/preview/", snapshots.snapshot_preview_counts, name="snapshot_preview"),
    path("snapshots/corpus/", snapshots.corpus_new, name="corpus_new"),
    path("snapshots/<uuid:snapshot_id>/", snapshots.snapshot, name="snapshot"),
    path("snapshots/<uuid:snapshot_id>/export/", exports.export_new, name="snapshot_export"),
    path("snapshots/<uuid:snapshot_id>/push/", exports.push_new, name="snapshot_push"),
    path("snapshots/<uuid:snapshot_id>/tokens/", exports.tokens_new, name="snapshot_tokens"),
    path("snapshots/<uuid:snapshot_id>/leaks/", leaks.leaks, name="snapshot_leaks"),
    path("snapshots/<uuid:snapshot_id>/difference/", exports.difference, name="snapshot_difference"),
    path(
        "snapshots/<uuid:snapshot_id>/<slug:split>/<slug:form>/", snapshots.snapshot_download, name="snapshot_download"
    ),
]

DATA = [
    path("data/<slug:kind>/", data.labels, name="data_labels"),
    path("data/<slug:kind>/<uuid:label_id>/", data.label, name="data_label"),
]

JOBS = [
    path("jobs/<uuid:job_id>/", exports.job, name="job"),
    path("jobs/<uuid:job_id>/live/", exports.job_live, name="job_live"),
    path("jobs/<uuid:job_id>/cancel/", exports.job_stop, name="job_cancel"),
]

WEBHOOKS = [
    path("notices/webhooks/", webhooks.webhooks, name="webhooks"),
    path("notices/webhooks/<uuid:webhook_id>/", webhooks.webhook, name="webhook"),
    path("notices/webhooks/<uuid:webhook_id>/<slug:action>/", webhooks.webhook_action, name="webhook_action"),
]

urlpatterns = [*DATA, *JOBS, *LOOP, *RUNS, *MODELS, *SNAPSHOTS, *WEBHOOKS]
