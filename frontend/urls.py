"""Addresses of the pages."""

from django.urls import include, path

from frontend.views import (
    accounts,
    acknowledgement,
    exports,
    feedback,
    invitations,
    labeling,
    notices,
    projects,
    workers,
)

app_name = "frontend"

ACCOUNTS = [
    path("", accounts.home, name="home"),
    path("sign-in/", accounts.sign_in, name="sign_in"),
    path("sign-in/<str:token>/", accounts.sign_in_link, name="sign_in_link"),
    path("sign-out/", accounts.sign_out, name="sign_out"),
    path("join/<str:token>/", invitations.join, name="join"),
    path("me/", accounts.profile, name="profile"),
    path("me/language/", accounts.language, name="language"),
    path("me/theme/", accounts.theme, name="theme"),
    path("me/layout/", accounts.answers_layout, name="answers_layout"),
    path("me/notices/", notices.notice_choices, name="notice_choices"),
    path("notices/", notices.notices, name="notices"),
    path("notices/read/", notices.notices_mark, name="notices_mark"),
    path("workers/", workers.workers, name="workers"),
    path("workers/drain/", workers.worker_drain, name="worker_drain"),
    path("p/<slug:slug>/", accounts.project, name="project"),
]

LABELING = [
    path("p/<slug:slug>/label/", labeling.label, name="label"),
    path("p/<slug:slug>/label/<uuid:assignment_id>/", labeling.assignment, name="assignment"),
    path("p/<slug:slug>/label/<uuid:assignment_id>/draft/", labeling.draft, name="assignment_draft"),
    path("p/<slug:slug>/label/<uuid:assignment_id>/heartbeat/", labeling.heartbeat, name="assignment_heartbeat"),
    path("p/<slug:slug>/label/<uuid:assignment_id>/skip/", labeling.skip, name="assignment_skip"),
    path("p/<slug:slug>/label/<uuid:assignment_id>/question/", feedback.ask, name="assignment_question"),
    path("p/<slug:slug>/guidelines/read/", acknowledgement.acknowledge, name="guidelines_acknowledge"),
    path("p/<slug:slug>/topics/", labeling.topics, name="topics"),
    path("p/<slug:slug>/history/", labeling.history, name="history"),
    path("p/<slug:slug>/guidelines/", labeling.guidelines, name="guidelines"),
]

PROJECTS = [
    path("projects/new/", projects.project_new, name="project_new"),
    path("p/<slug:slug>/", include("frontend.project_urls")),
    path("exports/<str:token>/<str:name>", exports.export_file, name="export_file"),
]

urlpatterns = [*ACCOUNTS, *LABELING, *PROJECTS]
