"""Routes of /api/v1/ for what people produce."""

from django.urls import path

from annotation import api, api_feedback, api_forms, api_imports, api_queue, api_stream

app_name = "annotation"
urlpatterns = [
    path("projects/", api.Projects.as_view(), name="projects"),
    path("projects/<slug:slug>/prompts/", api.Prompts.as_view(), name="prompts"),
    path("projects/<slug:slug>/prompts/<uuid:id>/", api.PromptDetail.as_view(), name="prompt"),
    path("projects/<slug:slug>/imports/", api_imports.Imports.as_view(), name="imports"),
    path("projects/<slug:slug>/imports/<uuid:id>/", api_imports.ImportDetail.as_view(), name="import"),
    path("projects/<slug:slug>/imports/<uuid:id>/preview/", api_imports.ImportPreview.as_view(), name="import_preview"),
    path("projects/<slug:slug>/imports/<uuid:id>/bad-lines/", api_imports.BadLines.as_view(), name="import_bad_lines"),
    path("projects/<slug:slug>/imports/<uuid:id>/start/", api_imports.ImportStart.as_view(), name="import_start"),
    path("projects/<slug:slug>/imports/<uuid:id>/cancel/", api_imports.ImportCancel.as_view(), name="import_cancel"),
    path("projects/<slug:slug>/imports/<uuid:id>/good-lines/", api_imports.ImportGood.as_view(), name="import_good"),
    path("projects/<slug:slug>/imports/<uuid:id>/undo/", api_imports.ImportUndo.as_view(), name="import_undo"),
    path("projects/<slug:slug>/demonstrations/", api.Demonstrations.as_view(), name="demonstrations"),
    path("projects/<slug:slug>/rankings/", api.Rankings.as_view(), name="rankings"),
    path("projects/<slug:slug>/labels/stream/", api_stream.LabelStream.as_view(), name="label_stream"),
    path("projects/<slug:slug>/queue/", api_queue.QueueHealth.as_view(), name="queue"),
    path("projects/<slug:slug>/queue/policy/", api_queue.QueuePolicy.as_view(), name="queue_policy"),
    path("projects/<slug:slug>/queue/scores/", api_queue.QueueScores.as_view(), name="queue_scores"),
    path("projects/<slug:slug>/comparisons/", api_queue.Comparisons.as_view(), name="comparisons"),
    path("projects/<slug:slug>/corrections/", api_queue.Corrections.as_view(), name="corrections"),
    path("projects/<slug:slug>/forms/", api_forms.Forms.as_view(), name="forms"),
    path("projects/<slug:slug>/guidelines/", api_forms.Guidelines.as_view(), name="guidelines"),
    path("projects/<slug:slug>/guidelines/acknowledge/", api_forms.Acknowledgement.as_view(), name="acknowledge"),
    path("projects/<slug:slug>/questions/", api_feedback.Questions.as_view(), name="questions"),
    path("projects/<slug:slug>/questions/<uuid:id>/", api_feedback.QuestionDetail.as_view(), name="question"),
    path("projects/<slug:slug>/questions/<uuid:id>/answer/", api_feedback.QuestionAnswer.as_view(), name="answer"),
    path("projects/<slug:slug>/questions/<uuid:id>/resolve/", api_feedback.QuestionResolve.as_view(), name="resolve"),
    path("projects/<slug:slug>/labels/<uuid:id>/comments/", api_feedback.Comments.as_view(), name="comments"),
    path("projects/<slug:slug>/assignments/<uuid:id>/feedback/", api_feedback.OwnFeedback.as_view(), name="feedback"),
    path("projects/<slug:slug>/assignments/<uuid:id>/question/", api_feedback.Ask.as_view(), name="ask"),
    path("projects/<slug:slug>/prompt-writing/", api_queue.PromptWriting.as_view(), name="prompt_writing"),
    path(
        "projects/<slug:slug>/prompt-writing/<uuid:id>/withdraw/",
        api_queue.PromptWritingWithdraw.as_view(),
        name="prompt_writing_withdraw",
    ),
    path("projects/<slug:slug>/tasks/next/", api.NextTask.as_view(), name="next_task"),
    path("projects/<slug:slug>/assignments/<uuid:id>/", api.AssignmentDetail.as_view(), name="assignment"),
    path("projects/<slug:slug>/assignments/<uuid:id>/submit/", api.AssignmentSubmit.as_view(), name="submit"),
    path("projects/<slug:slug>/assignments/<uuid:id>/skip/", api.AssignmentSkip.as_view(), name="skip"),
    path("projects/<slug:slug>/assignments/<uuid:id>/draft/", api.AssignmentDraft.as_view(), name="draft"),
    path("projects/<slug:slug>/assignments/<uuid:id>/heartbeat/", api.AssignmentHeartbeat.as_view(), name="heartbeat"),
]
