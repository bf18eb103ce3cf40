"""Addresses below /p/<slug>/ for admins, reviewers and researchers."""

from django.urls import path

from frontend import training_urls
from frontend.views import (
    audit,
    comparisons,
    feedback,
    imports,
    invitations,
    people,
    projects,
    prompt_writing,
    prompts,
    queue,
    ranking_form,
    tokens,
    traces,
)

PROJECT = [
    path("settings/", projects.settings, name="settings"),
    path("guidelines/edit/", projects.guideline_edit, name="guideline_edit"),
    path("guidelines/preview/", projects.guideline_preview, name="guideline_preview"),
    path("form/", ranking_form.ranking_form, name="ranking_form"),
    path("form/edit/", ranking_form.ranking_form_edit, name="ranking_form_edit"),
    path("questions/", feedback.questions, name="questions"),
    path("questions/<uuid:question_id>/", feedback.question, name="question"),
    path("labels/<uuid:assignment_id>/comment/", feedback.comment, name="label_comment"),
    path("queue/", queue.overview, name="queue"),
    path("queue/policy/", queue.policy, name="queue_policy"),
    path("queue/review/", queue.review, name="queue_review"),
    path("queue/review/<uuid:task_id>/", queue.review_decide, name="queue_review_decide"),
    path("queue/comparisons/", comparisons.comparisons, name="comparisons"),
    path("queue/corrections/", comparisons.corrections, name="corrections"),
    path("queue/prompt-writing/", prompt_writing.prompt_writing, name="prompt_writing"),
    path("queue/prompt-writing/<uuid:brief_id>/withdraw/", prompt_writing.withdraw, name="prompt_writing_withdraw"),
    path("queue/limits/", queue.limits, name="queue_limits"),
    path("queue/limits/<uuid:member_id>/", queue.limits_set, name="queue_limits_set"),
    path("people/", people.people, name="people"),
    path("people/invitations/", invitations.invitations, name="invitations"),
    path("people/invitations/<uuid:invitation_id>/", invitations.invitation_withdraw, name="invitation_withdraw"),
    path("people/<uuid:member_id>/", people.member, name="member"),
    path("people/<uuid:member_id>/link/", people.member_link, name="member_link"),
    path("people/<uuid:member_id>/traces/", traces.traces, name="member_traces"),
    path("snapshots/<uuid:snapshot_id>/erase/", traces.snapshot_erased, name="snapshot_erase"),
    path("tokens/", tokens.tokens, name="tokens"),
    path("tokens/<uuid:token_id>/revoke/", tokens.token_revoke, name="token_revoke"),
    path("audit/", audit.audit, name="audit"),
]

PROMPTS = [
    path("prompts/", prompts.prompts, name="prompts"),
    path("prompts/paste/", prompts.prompts_paste, name="prompts_paste"),
    path("prompts/import/", imports.prompts_import, name="prompts_import"),
    path("prompts/imports/<uuid:batch_id>/", imports.import_report, name="import_report"),
    path("prompts/imports/<uuid:batch_id>/live/", imports.import_live, name="import_live"),
    path("prompts/imports/<uuid:batch_id>/start/", imports.import_start, name="import_start"),
    path("prompts/imports/<uuid:batch_id>/cancel/", imports.import_cancel, name="import_cancel"),
    path("prompts/imports/<uuid:batch_id>/good-lines/", imports.import_good, name="import_good"),
    path(
        "prompts/imports/<uuid:batch_id>/bad-lines.<slug:ending>", imports.import_report_file, name="import_report_file"
    ),
    path("prompts/imports/<uuid:batch_id>/undo/", imports.import_undo, name="import_undo"),
    path("prompts/<uuid:prompt_id>/", prompts.prompt, name="prompt"),
    path("prompts/<uuid:prompt_id>/topics/", prompts.topics, name="prompt_topics"),
    path("prompts/<uuid:prompt_id>/withdraw/", prompts.withdraw, name="prompt_withdraw"),
]

urlpatterns = [*PROJECT, *PROMPTS, *training_urls.urlpatterns]
