"""Routes of /api/v1/ for what people produce."""

from django.urls import path

from annotation import api, api_queue, api_stream

app_name = "annotation"
urlpatterns = [
    path("projects/", api.Projects.as_view(), name="projects"),
    path("projects/<slug:slug>/prompts/", api.Prompts.as_view(), name="prompts"),
    path("projects/<slug:slug>/prompts/<uuid:id>/", api.PromptDetail.as_view(), name="prompt"),
    path("projects/<slug:slug>/imports/", api.Imports.as_view(), name="imports"),
    path("projects/<slug:slug>/demonstrations/", api.Demonstrations.as_view(), name="demonstrations"),
    path("projects/<slug:slug>/rankings/", api.Rankings.as_view(), name="rankings"),
    path("projects/<slug:slug>/labels/stream/", api_stream.LabelStream.as_view(), name="label_stream"),
    path("projects/<slug:slug>/queue/", api_queue.QueueHealth.as_view(), name="queue"),
    path("projects/<slug:slug>/queue/policy/", api_queue.QueuePolicy.as_view(), name="queue_policy"),
    path("projects/<slug:slug>/queue/scores/", api_queue.QueueScores.as_view(), name="queue_scores"),
    path("projects/<slug:slug>/comparisons/", api_queue.Comparisons.as_view(), name="comparisons"),
    path("projects/<slug:slug>/corrections/", api_queue.Corrections.as_view(), name="corrections"),
    path("projects/<slug:slug>/tasks/next/", api.NextTask.as_view(), name="next_task"),
    path("projects/<slug:slug>/assignments/<uuid:id>/", api.AssignmentDetail.as_view(), name="assignment"),
    path("projects/<slug:slug>/assignments/<uuid:id>/submit/", api.AssignmentSubmit.as_view(), name="submit"),
    path("projects/<slug:slug>/assignments/<uuid:id>/skip/", api.AssignmentSkip.as_view(), name="skip"),
    path("projects/<slug:slug>/assignments/<uuid:id>/draft/", api.AssignmentDraft.as_view(), name="draft"),
    path("projects/<slug:slug>/assignments/<uuid:id>/heartbeat/", api.AssignmentHeartbeat.as_view(), name="heartbeat"),
]
