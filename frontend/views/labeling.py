"""The labeler's pages: start, write or rank, keep a draft, skip, look back, read the guidelines.

Opening a page never takes a task: pressing "Start labeling" does, and so does submitting or skipping the one before.
The same addresses answer a plain form (page or redirect) and the page's script (JSON), by the Accept header.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import redirect_to_login
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_http_methods, require_POST

from annotation.errors import PlackettError
from annotation.fields import SkipReason
from annotation.models import (
    Assignment,
    AssignmentStatus,
    Demonstration,
    FormVersion,
    Membership,
    Ranking,
    TaskKind,
    WrittenPrompt,
)
from annotation.models.tasks import WRITTEN
from annotation.roles import Capability
from annotation.selectors import labels as label_selectors
from annotation.selectors import queue as queue_selectors
from annotation.selectors.feedback import Feedback, feedback_of
from annotation.selectors.forms import form_in_hand, form_of
from annotation.selectors.guidelines import guideline_to_acknowledge, guidelines_current
from annotation.selectors.labels import AnyLabel
from annotation.selectors.nothing import reasons_for_nothing
from annotation.services import labels, queue
from annotation.services.feedback import feedback_seen, question_ask
from annotation.services.guidelines import GuidelineError, GuidelinesChanged, guideline_acknowledge
from annotation.services.limits import declined_topics_set
from annotation.services.prompt_writing import written_prompt_submit
from frontend import prompt_writing, submissions
from frontend.access import ProjectAccess, assignment_for, labeler_for, project_for
from frontend.history_page import history_context
from frontend.project_forms.queue import TopicsForm
from frontend.ranking_page import contradiction_words, form_context, questions_of
from frontend.submissions import Values

LABELS_A_PAGE = 20
P = ParamSpec("P")


def signed_in(
    view: Callable[Concatenate[HttpRequest, P], HttpResponse],
) -> Callable[Concatenate[HttpRequest, P], HttpResponse]:
    """As login_required, but a script is told so in JSON, so that it can keep what was written and say what to do."""

    @wraps(view)
    def wrapper(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        if request.user.is_authenticated:
            return view(request, *args, **kwargs)
        if wants_json(request):
            words = _("You have been signed out. Sign in in another tab, then send this again.")
            return JsonResponse({"problem": words}, status=401)
        return redirect_to_login(request.get_full_path())

    return wrapper


def wants_json(request: HttpRequest) -> bool:
    return request.headers.get("Accept", "").startswith("application/json")


# Each kind of task on the start page: what waits, the button that asks for it alone, its picture.
KIND_WORDS: dict[str, tuple[Promise | str, Promise | str, str]] = {
    TaskKind.DEMONSTRATION: (_lazy("Demonstrations to write"), _lazy("Only write demonstrations"), "pencil-line"),
    TaskKind.RANKING: (_lazy("Answers to rank"), _lazy("Only rank answers"), "list-ordered"),
    TaskKind.CORRECTION: (_lazy("Answers to correct"), _lazy("Only correct answers"), "pencil-line"),
    TaskKind.COMPARISON: (_lazy("Pairs to compare"), _lazy("Only compare pairs"), "columns-2"),
    TaskKind.PROMPT: (_lazy("Prompts to write"), _lazy("Only write prompts"), "message-square"),
}


@dataclass(frozen=True)
class KindWaiting:
    """How many tasks of a kind wait for this labeler."""

    kind: str
    number: int

    @property
    def words(self) -> tuple[Promise | str, Promise | str, str]:
        return KIND_WORDS[self.kind]


# --- Start ---------------------------------------------------------------------------------------------------------


@signed_in
@require_http_methods(["GET", "POST"])
def label(request: HttpRequest, slug: str) -> HttpResponse:
    """What waits for this labeler, and the button that takes the next task."""
    access, membership = labeler_for(request.user, slug)
    if request.method == "POST":
        acknowledge_first(request, membership)
        if "kind" in request.POST:  # without it, as with Continue, what they chose before holds
            choose_kind(request, membership, request.POST["kind"])
        return redirect(next_url(request, membership))
    waiting = queue_selectors.waiting_for(membership)
    current = membership.assignments.filter(status=AssignmentStatus.LEASED).select_related("task").first()
    context = {
        "access": access,
        "section": "label",
        "waiting": [KindWaiting(kind, waiting[kind]) for kind in KIND_WORDS],
        "anything": any(waiting.values()),
        "several": sum(bool(number) for number in waiting.values()) > 1,
        "only": KIND_WORDS[only][1] if (only := chosen_kind(request, membership)) else "",
        "current": current,
        "unfinished": label_selectors.unfinished_of(membership),
        "done": label_selectors.done_by(membership),
        "guideline": guidelines_current(access.project),
        "changed": guideline_to_acknowledge(membership),
        "reasons": [] if current or any(waiting.values()) else reasons_for_nothing(membership),
    }
    return render(request, "frontend/labeling/start.html", context)


def acknowledge_first(request: HttpRequest, membership: Membership) -> None:
    """Whoever starts for the first time starts below the guidelines: that they did is kept. What changed since is asked
    for on a page of its own."""
    try:
        guideline_acknowledge(
            labeler=membership, version=submissions.whole_number(request.POST.get("guideline_version", ""))
        )
    except GuidelineError:
        return


@login_required
@require_http_methods(["GET", "POST"])
def topics(request: HttpRequest, slug: str) -> HttpResponse:
    """The sensitive topics that this labeler opted out of: their own choice, on a page of their own."""
    access, membership = labeler_for(request.user, slug)
    form = TopicsForm(
        request.POST if request.method == "POST" else None, initial={"topics": membership.declined_topics}
    )
    if form.is_valid():
        declined_topics_set(membership=membership, topics=form.cleaned_data["topics"])
        messages.success(request, _("Your choice has been saved. It holds from your next task on."))
        return redirect("frontend:label", slug)
    status = 422 if form.is_bound else 200
    context = {"access": access, "section": "label", "form": form}
    return render(request, "frontend/labeling/topics.html", context, status=status)


def chosen_kind(request: HttpRequest, membership: Membership) -> str | None:
    """The one kind of task that this labeler asked for in this project since they signed in, if they did."""
    return request.session.get("label_kinds", {}).get(str(membership.id))


def choose_kind(request: HttpRequest, membership: Membership, kind: str) -> None:
    """From now on tasks of this kind alone; with anything that is no kind, of each."""
    others = {key: value for key, value in request.session.get("label_kinds", {}).items() if key != str(membership.id)}
    request.session["label_kinds"] = others | ({str(membership.id): kind} if kind in KIND_WORDS else {})


def next_url(request: HttpRequest, membership: Membership) -> str:
    """Take the next task and return its page; without one, the start page, which says why; where the guidelines have
    changed, the page that says what."""
    kind = chosen_kind(request, membership)
    slug = membership.project.slug
    try:
        assignment = queue.assignment_next(labeler=membership, kind=kind)
    except GuidelinesChanged:
        return reverse("frontend:guidelines_acknowledge", args=[slug])
    if assignment is None:
        if kind:  # else the start page would offer what is left, and not give it
            choose_kind(request, membership, "")
            messages.info(request, _("There are no more tasks of the kind that you chose."))
        return reverse("frontend:label", args=[slug])
    return reverse("frontend:assignment", args=[slug, assignment.id])


# --- One task ------------------------------------------------------------------------------------------------------


@dataclass
class Form:
    """What the task's page shows in its form."""

    values: Values
    problems: Mapping[str, str] = field(default_factory=dict)
    notice: str = ""
    contradictions: Sequence[str] = ()
    submission_id: uuid.UUID = field(default_factory=uuid.uuid4)


@signed_in
@cache_control(no_store=True, private=True)  # so that going back asks the server what became of the task
@require_http_methods(["GET", "POST"])
def assignment(request: HttpRequest, slug: str, assignment_id: uuid.UUID) -> HttpResponse:
    if request.method == "POST":
        return submit(request, *assignment_for(request.user, slug, assignment_id, read="task"))
    access, task_in_hand = assignment_for(request.user, slug, assignment_id)
    revisions = label_selectors.label_history(task_in_hand)
    if label_selectors.current_of(revisions) is None and guideline_to_acknowledge(task_in_hand.labeler):
        return redirect("frontend:guidelines_acknowledge", slug)  # the draft waits here meanwhile
    form = Form(values=starting_values(task_in_hand, revisions))
    return task_page(request, access, task_in_hand, form, revisions=revisions)


def submit(request: HttpRequest, access: ProjectAccess, assignment: Assignment) -> HttpResponse:
    clock = submissions.read_clock(request.POST, assignment)
    form = Form(submissions.posted_values(request.POST, assignment), submission_id=clock.submission_id)
    try:
        if assignment.task.kind in WRITTEN:
            submit_demonstration(request, assignment, clock)
        elif assignment.task.kind == TaskKind.PROMPT:
            submit_prompt(request, assignment, clock)
        else:
            submit_ranking(request, assignment, clock, form)
    except PlackettError as problem:
        form.notice = problem.message
    if form.problems or form.notice:
        return refused(request, access, assignment, form)
    if form.contradictions:
        return task_page(request, access, assignment, form)
    return submitted(request, assignment)


def submit_demonstration(request: HttpRequest, assignment: Assignment, clock: submissions.Clock) -> None:
    labels.demonstration_submit(
        assignment=assignment,
        text=request.POST.get("text", ""),
        submission_id=clock.submission_id,
        started_at=clock.started_at,
        active_seconds=clock.active_seconds,
        by=assignment.labeler,
    )


def submit_prompt(request: HttpRequest, assignment: Assignment, clock: submissions.Clock) -> None:
    written_prompt_submit(
        assignment=assignment,
        parts=prompt_writing.parts_from(request.POST),
        category=request.POST.get("category", ""),
        language=request.POST.get("language", "").strip(),
        submission_id=clock.submission_id,
        started_at=clock.started_at,
        active_seconds=clock.active_seconds,
        by=assignment.labeler,
    )


def submit_ranking(request: HttpRequest, assignment: Assignment, clock: submissions.Clock, form: Form) -> None:
    """Submit the ranking, or note in the form what is wrong with it by field, or what to look at once more."""
    version = form_shown(request, assignment)
    if assignment.task.kind == TaskKind.COMPARISON:
        read = submissions.read_comparison(request.POST, assignment)
    else:
        read = submissions.read_ranking(request.POST, assignment, version.fields)
    form.problems, form.contradictions = read.problems, unseen_contradictions(request, read)
    if form.problems or form.contradictions:
        return
    labels.ranking_submit(
        assignment=assignment,
        items=[
            labels.RankedItem(
                response_id=answer.response_id, rank=answer.rank, rating=answer.rating, flags=answer.flags
            )
            for answer in read.answers
        ],
        submission_id=clock.submission_id,
        started_at=clock.started_at,
        active_seconds=clock.active_seconds,
        by=assignment.labeler,
        prompt_fields=read.prompt_fields,
        form=version,
    )


def unseen_contradictions(request: HttpRequest, read: submissions.RankingInput) -> Sequence[str]:
    """What a plain form is asked about once before it is taken; the page's script points it out while one ranks."""
    if wants_json(request) or "contradictions_seen" in request.POST:
        return ()
    return contradiction_words(read.answers)


def form_shown(request: HttpRequest, assignment: Assignment) -> FormVersion:
    """The version of the form that this page was drawn from: it travels in the form's address."""
    said = request.GET.get("form") if request.method == "POST" else None
    return form_in_hand(assignment, None if said is None else submissions.whole_number(said))


def submitted(request: HttpRequest, assignment: Assignment) -> HttpResponse:
    slug = assignment.labeler.project.slug
    ask_along(request, assignment)
    if "editing" in request.POST:
        messages.success(request, _("Saved as a new revision of your label."))
        url = reverse("frontend:history", args=[slug])
    else:
        messages.success(request, _("Your label has been saved."))
        url = next_url(request, assignment.labeler)
    return JsonResponse({"next": url}) if wants_json(request) else redirect(url)


def ask_along(request: HttpRequest, assignment: Assignment) -> None:
    """A question that stands in the form unsent goes with the label, and is not lost."""
    if not request.POST.get("question", "").strip():
        return
    try:
        question_ask(assignment=assignment, body=request.POST["question"], by=assignment.labeler)
    except PlackettError as problem:
        messages.error(request, problem.message)


def refused(request: HttpRequest, access: ProjectAccess, assignment: Assignment, form: Form) -> HttpResponse:
    if not wants_json(request):
        return task_page(request, access, assignment, form, status=422)
    problem = form.notice or " ".join(form.problems.values())
    return JsonResponse({"problem": problem, "fields": dict(form.problems)}, status=422)


def task_page(
    request: HttpRequest,
    access: ProjectAccess,
    assignment: Assignment,
    form: Form,
    status: int = 200,
    revisions: Sequence[AnyLabel] | None = None,
) -> HttpResponse:
    if revisions is None:
        revisions = label_selectors.label_history(assignment)
    context = {
        "feedback": read_feedback(assignment),
        "access": access,
        "section": "label" if not revisions else "history",
        "assignment": assignment,
        "prompt": assignment.task.prompt,
        "form": form,
        "started_at": form.values.get("started_at") or timezone.now().isoformat(),
        "revisions": revisions,
        "is_restored": bool(assignment.draft) and request.method == "GET",
        "skip_reasons": SkipReason.choices,
        "guideline": guidelines_current(access.project),
        "heartbeat_seconds": max(2, settings.LABEL_LEASE_SECONDS // 4),
        "draft_key": submissions.draft_key(access.user),
    }
    if assignment.task.kind in WRITTEN:
        context["original"] = labels.original_of(assignment)
        return render(request, "frontend/labeling/demonstrate.html", context, status=status)
    if assignment.task.kind == TaskKind.PROMPT:
        context |= prompt_writing.context(assignment, form.values, revisions[0] if revisions else None)
        return render(request, "frontend/labeling/write_prompt.html", context, status=status)
    if assignment.task.kind == TaskKind.COMPARISON:
        context |= {"answers": submissions.answers_of(assignment, form.values), "choice": form.values.get("choice", "")}
        return render(request, "frontend/labeling/compare.html", context, status=status)
    context |= ranking_context(request, assignment, form, revisions)
    return render(request, "frontend/labeling/rank.html", context, status=status)


def read_feedback(assignment: Assignment) -> Feedback:
    """What was said about this task; from now on its labeler has seen it."""
    found = feedback_of(assignment)
    if found.has_news:
        feedback_seen(assignment=assignment, by=assignment.labeler)
    return found


def ranking_context(
    request: HttpRequest, assignment: Assignment, form: Form, revisions: Sequence[AnyLabel]
) -> dict[str, Any]:
    current = label_selectors.current_of(revisions)
    version = form_of(assignment, current if isinstance(current, Ranking) else None)
    if request.method == "POST":  # drawn again as it was; a version that never was is said in the notice
        with suppress(PlackettError):
            version = form_shown(request, assignment)
    return form_context(version.fields) | {
        "form_version": version.version,
        "answers": submissions.answers_of(assignment, form.values, form.problems),
        "ranks": [str(rank) for rank in range(1, len(assignment.presented_order) + 1)],
        "questions": questions_of(version.fields, form.values, form.problems),
        "touched": form.values.get("touched", ""),
    }


def starting_values(assignment: Assignment, revisions: Sequence[AnyLabel]) -> Values:
    """A draft if there is one, else the label as it stands, else an empty form."""
    if assignment.draft:
        return assignment.draft
    current = label_selectors.current_of(revisions)
    if isinstance(current, WrittenPrompt):
        return prompt_writing.values_of(current)
    if isinstance(current, Demonstration):
        return submissions.demonstration_values(current)
    if isinstance(current, Ranking) and assignment.task.kind == TaskKind.COMPARISON:
        return submissions.comparison_values(current)
    if isinstance(current, Ranking):
        return submissions.ranking_values(current)
    original = labels.original_of(assignment)
    return {"text": original.text} if original else {}


@signed_in
@require_POST
def draft(request: HttpRequest, slug: str, assignment_id: uuid.UUID) -> HttpResponse:
    """Keep what is written so far; 409 answers with the draft that another window saved meanwhile."""
    __, task_in_hand = assignment_for(request.user, slug, assignment_id, read="task")
    written = submissions.draft_from(request.POST, task_in_hand)
    base = submissions.parse_moment(request.POST.get("base", ""))
    try:
        kept_at = queue.draft_save(assignment=task_in_hand, draft=written, base=base)
    except queue.DraftElsewhere as problem:
        other = problem.assignment
        # To the microsecond, which Django's JSON would leave out: the page sends it back as what it knows of.
        saved_at = other.draft_saved_at.isoformat() if other.draft_saved_at else ""
        answer = {"problem": problem.message, "draft": other.draft, "saved_at": saved_at}
        return JsonResponse(answer, status=409)
    return JsonResponse({"saved_at": kept_at.isoformat()})


@signed_in
@require_POST
def heartbeat(request: HttpRequest, slug: str, assignment_id: uuid.UUID) -> HttpResponse:
    """Keep the task in this labeler's hands while the page is open; 409 says that it no longer is."""
    __, task_in_hand = assignment_for(request.user, slug, assignment_id, read="task")
    try:
        lease_until = queue.assignment_heartbeat(assignment=task_in_hand)
    except PlackettError as problem:
        return JsonResponse({"problem": problem.message}, status=409)
    return JsonResponse({"lease_until": lease_until.isoformat()})


@signed_in
@require_POST
def skip(request: HttpRequest, slug: str, assignment_id: uuid.UUID) -> HttpResponse:
    access, task_in_hand = assignment_for(request.user, slug, assignment_id)
    try:
        queue.assignment_skip(
            assignment=task_in_hand,
            reason=request.POST.get("reason", ""),
            note=request.POST.get("note", "").strip(),
            by=task_in_hand.labeler,
        )
    except PlackettError as problem:
        revisions = label_selectors.label_history(task_in_hand)
        form = Form(starting_values(task_in_hand, revisions), notice=problem.message)
        return task_page(request, access, task_in_hand, form, 422, revisions)
    messages.info(request, _("Skipped."))
    return redirect(next_url(request, task_in_hand.labeler))


# --- Looking back, and the guidelines ------------------------------------------------------------------------------


@login_required
def history(request: HttpRequest, slug: str) -> HttpResponse:
    """One's own labels, newest first; each opens to be looked at and edited."""
    access, membership = labeler_for(request.user, slug)
    page = Paginator(label_selectors.labels_of(membership), LABELS_A_PAGE).get_page(request.GET.get("page"))
    context = {"access": access, "section": "history", "page": page} | history_context(membership, page)
    return render(request, "frontend/labeling/history.html", context)


@login_required
def guidelines(request: HttpRequest, slug: str) -> HttpResponse:
    """The guidelines in force, or an earlier version of them by `?version=`."""
    access = project_for(request.user, slug, Capability.READ_GUIDELINES)
    versions = list(access.project.guidelines.all())
    wanted = request.GET.get("version", versions[0].version if versions else None)
    shown = next((row for row in versions if str(row.version) == str(wanted)), None)
    if wanted and shown is None:
        raise Http404
    context = {"access": access, "section": "guidelines", "versions": versions, "shown": shown}
    context["may_edit"] = access.can(Capability.EDIT_GUIDELINES)
    if access.membership is not None and access.can(Capability.LABEL):
        context["waiting"] = guideline_to_acknowledge(access.membership)
    return render(request, "frontend/labeling/guidelines.html", context)
