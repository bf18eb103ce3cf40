"""What labelers and leads say to each other: a question on a task and its thread, a comment on a label."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotation.errors import PlackettError
from annotation.models import Assignment, Question, QuestionState, User
from annotation.roles import Capability
from annotation.selectors.feedback import SHOWN, assignment_in, feedback_of, questions_in, returns_in
from annotation.selectors.labels import label_current, responses_presented
from annotation.services.feedback import (
    label_comment,
    question_answer,
    question_ask,
    question_resolve,
    return_take_back,
)
from annotation.services.queue import draft_save
from frontend import submissions
from frontend.access import NOTHING_HERE, ProjectAccess, as_user, assignment_for, project_for
from frontend.pages import UNPROCESSABLE, project_page
from frontend.views.labeling import signed_in

QUESTIONS_A_PAGE = 20


@signed_in
@require_POST
def ask(request: HttpRequest, slug: str, assignment_id: UUID) -> HttpResponse:
    """Ask from the task's page. A plain form brings the whole page's form along, which is kept as the draft."""
    access, assignment = assignment_for(request.user, slug, assignment_id)
    by_script = "HX-Request" in request.headers
    problem = ""
    try:
        question_ask(assignment=assignment, body=request.POST.get("question", ""), by=assignment.labeler)
    except PlackettError as refusal:
        problem = refusal.message
    if not by_script:
        kept = submissions.draft_from(request.POST, assignment)
        if not problem:
            kept.pop("question", None)
            messages.success(request, _("Your question has been sent. The answer will stand here."))
        else:
            messages.error(request, problem)
        draft_save(assignment=assignment, draft=kept)
        return redirect("frontend:assignment", slug, assignment_id)
    context = {
        "access": access,
        "assignment": assignment,
        "feedback": feedback_of(assignment),
        "unsent": request.POST.get("question", "") if problem else "",
        "problem": problem,
        "sent": not problem,
    }
    return render(request, "frontend/labeling/_question.html", context, status=UNPROCESSABLE if problem else 200)


@login_required
@require_GET
def questions(request: HttpRequest, slug: str) -> HttpResponse:
    """What labelers ask, the open ones unless others are asked for; and the labels that wait for their labelers."""
    access = project_for(request.user, slug, Capability.REVIEW)
    state = request.GET.get("state", QuestionState.OPEN)
    state = state if state in QuestionState.values else ""
    page = Paginator(questions_in(access.project, state=state), QUESTIONS_A_PAGE).get_page(request.GET.get("page"))
    context = {
        "page": page,
        "state": state,
        "states": QuestionState.choices,
        "returned": list(returns_in(access.project)[:SHOWN]),
    }
    return project_page(request, access, "questions", "feedback/questions.html", context)


@login_required
@require_http_methods(["GET", "POST"])
def question(request: HttpRequest, slug: str, question_id: UUID) -> HttpResponse:
    """One thread, with what it is about; the button pressed says what becomes of it."""
    access = project_for(request.user, slug, Capability.REVIEW)
    found = question_for(access, question_id)
    problem, body = "", request.POST.get("body", "")
    if request.method == "POST":
        try:
            answer(request, found, body)
            return redirect("frontend:questions", slug)
        except PlackettError as refusal:
            problem = refusal.message
    context = {
        "question": found,
        "prompt": found.assignment.task.prompt,
        "answers": responses_presented(found.assignment),
        "label": label_current(found.assignment),
        "problem": problem,
        "body": body,
    }
    return project_page(
        request, access, "questions", "feedback/question.html", context, UNPROCESSABLE if problem else 200
    )


def answer(request: HttpRequest, found: Question, body: str) -> None:
    """Answer, resolve, or both: what is written is sent, whichever button is pressed."""
    resolves = request.POST.get("decision") == "resolve"
    if body.strip() or not resolves:
        question_answer(question=found, body=body, by=as_user(request.user))
        messages.success(request, _("Your answer has been sent."))
    if resolves:
        question_resolve(question=found, by=as_user(request.user))
        messages.success(request, _("The question is resolved."))


def question_for(access: ProjectAccess, question_id: UUID) -> Question:
    found = questions_in(access.project).filter(pk=question_id).first()
    if found is None:
        raise Http404(NOTHING_HERE)
    return found


@login_required
@require_POST
def comment(request: HttpRequest, slug: str, assignment_id: UUID) -> HttpResponse:
    """Say something of a label, return it, or take that back; then back to the page where labels are read."""
    access = project_for(request.user, slug, Capability.REVIEW)
    found = assignment_in(access.project, assignment_id)
    if found is None:
        raise Http404(NOTHING_HERE)
    try:
        messages.success(request, decide(request, found, by=access.user))
    except PlackettError as problem:
        messages.error(request, problem.message)
    return redirect("frontend:prompt", slug, found.task.prompt_id)


def decide(request: HttpRequest, assignment: Assignment, by: User) -> str:
    """Do what the button says, and return the words for it."""
    decision = request.POST.get("decision")
    if decision == "take_back":
        return_take_back(assignment=assignment, by=by)
        return _("The return has been taken back. The comment stays.")
    returns = decision == "return"
    label_comment(assignment=assignment, body=request.POST.get("body", ""), returns=returns, by=by)
    return _("The label has been returned to its labeler.") if returns else _("Your comment has been sent.")
