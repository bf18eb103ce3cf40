"""What is said about work: a labeler's question on a task, a lead's answer, a reviewer's comment on a label.

Each row is added and never edited. The audit log says that something was said, not what.
"""

from __future__ import annotations

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from annotation.conversations import clean_text
from annotation.errors import PlackettError
from annotation.models import Assignment, LabelComment, Membership, Question, QuestionMessage, QuestionState
from annotation.models.feedback import MAX_MESSAGE, MAX_MESSAGES
from annotation.selectors.labels import label_current
from annotation.services import audit
from annotation.services.audit import Actor
from annotation.services.queue import NotYours, check_own


class FeedbackError(PlackettError):
    """Something that can't be said here, or any more."""


# --- Questions on a task ----------------------------------------------------------------------------------------------


@transaction.atomic
def question_ask(*, assignment: Assignment, body: str, by: Actor) -> Question:
    """Ask the leads about a task, or say more; an answered or resolved thread is open again."""
    check_own(assignment, by)
    body = clean_text(body, what=_("the question"), limit=MAX_MESSAGE)
    # One thread, however often it is pressed; and a draft that is saved meanwhile waits, so that it is not undone here.
    held = Assignment.objects.select_for_update(no_key=True).get(pk=assignment.pk)
    if "question" in held.draft:  # it is sent now
        rest = {name: value for name, value in held.draft.items() if name != "question"}
        Assignment.objects.filter(pk=assignment.pk).update(draft=rest)
    question, _created = Question.objects.get_or_create(assignment=assignment, project=assignment.task.project)
    add_message(question, body, by_labeler=True, by=by)
    Question.objects.filter(pk=question.pk).update(state=QuestionState.OPEN, asked_at=Now(), news=False)
    audit.record(project=question.project, by=by, verb="question.ask", target=question, characters=len(body))
    question.refresh_from_db()
    return question


@transaction.atomic
def question_answer(*, question: Question, body: str, by: Actor) -> Question:
    """Answer a labeler; it stays answered until they say more or somebody resolves it."""
    body = clean_text(body, what=_("the answer"), limit=MAX_MESSAGE)
    question = locked(question)
    add_message(question, body, by_labeler=False, by=by)
    Question.objects.filter(pk=question.pk).update(state=QuestionState.ANSWERED, news=True)
    audit.record(project=question.project, by=by, verb="question.answer", target=question, characters=len(body))
    question.refresh_from_db()
    return question


@transaction.atomic
def question_resolve(*, question: Question, by: Actor) -> Question:
    """Take the thread off the list of what waits for an answer."""
    question = locked(question)
    if question.state != QuestionState.RESOLVED:
        question.state = QuestionState.RESOLVED
        question.save(update_fields=["state"])
        audit.record(project=question.project, by=by, verb="question.resolve", target=question)
    return question


def add_message(question: Question, body: str, *, by_labeler: bool, by: Actor) -> None:
    """Add to a locked thread; the same words twice in a row are one message, sent again."""
    latest = question.messages.order_by("-id").first()
    if latest is not None and (latest.by_labeler, latest.body) == (by_labeler, body):
        return
    if question.messages.count() >= MAX_MESSAGES:
        raise FeedbackError(
            _("This thread has %(limit)s messages. Talk to each other elsewhere.") % {"limit": MAX_MESSAGES}
        )
    QuestionMessage.objects.create(question=question, by_labeler=by_labeler, author=audit.account_of(by), body=body)


def locked(question: Question) -> Question:
    return Question.objects.select_for_update(of=("self",), no_key=True).select_related("project").get(pk=question.pk)


# --- Comments on a label ----------------------------------------------------------------------------------------------


@transaction.atomic
def label_comment(*, assignment: Assignment, body: str, returns: bool, by: Actor) -> LabelComment:
    """Say something of a label to its labeler, and, with `returns`, give it back to them to be edited.

    Nothing is deleted: a returned label stays as it is, and is left out of new snapshots until its next revision.

    Raises: FeedbackError.
    """
    body = clean_text(body, what=_("the comment"), limit=MAX_MESSAGE)
    Assignment.objects.select_for_update(no_key=True).get(pk=assignment.pk)
    label = label_current(assignment)
    if label is None:
        raise FeedbackError(_("There is no label here yet to say something of."))
    if returns:
        check_may_return(assignment, by)
    if LabelComment.objects.filter(assignment=assignment).count() >= MAX_MESSAGES:
        raise FeedbackError(
            _("This label has %(limit)s comments. Talk to its labeler elsewhere.") % {"limit": MAX_MESSAGES}
        )
    comment = LabelComment.objects.create(
        project=assignment.task.project,
        assignment=assignment,
        revision=label.revision,
        author=audit.account_of(by),
        body=body,
        returns=returns,
    )
    verb = "label.return" if returns else "label.comment"
    audit.record(project=comment.project, by=by, verb=verb, target=label, revision=label.revision)
    return comment


@transaction.atomic
def return_take_back(*, assignment: Assignment, by: Actor) -> LabelComment:
    """Undo a return that no revision has answered: the label counts again, the comment stays.

    Raises: FeedbackError.
    """
    Assignment.objects.select_for_update(no_key=True).get(pk=assignment.pk)
    waiting = assignment.comments.filter(returns=True, closed_at__isnull=True)
    comment = waiting.first()
    if comment is None:
        raise FeedbackError(_("This label is not waiting for its labeler any more. Reload the page."))
    waiting.update(closed_at=Now())
    audit.record(project=comment.project, by=by, verb="label.take_back", target=comment)
    comment.refresh_from_db()
    return comment


def check_may_return(assignment: Assignment, by: Actor) -> None:
    """Only a label that somebody else can still edit goes back, and only once at a time."""
    labeler = assignment.labeler
    account = audit.account_of(by)
    if account is not None and labeler.user_id == account.pk:
        raise FeedbackError(_("This is your own label. Edit it from your history."))
    if labeler.user_id is None or not labeler.is_active:
        raise FeedbackError(_("Its labeler is not here (any more), so nobody could edit it. Leave a comment instead."))
    if assignment.comments.filter(returns=True, closed_at__isnull=True).exists():
        raise FeedbackError(_("This label has been returned already and waits for its labeler."))


def returns_close(*, assignment: Assignment) -> None:
    """A new revision answers the return of the one before. Inside the submit's transaction."""
    assignment.comments.filter(returns=True, closed_at__isnull=True).update(closed_at=Now(), seen_at=Now())


# --- Seen -------------------------------------------------------------------------------------------------------------


def feedback_seen(*, assignment: Assignment, by: Membership) -> None:
    """The labeler looked at the task's page, where all that was said stands."""
    if assignment.labeler_id != by.pk:
        raise NotYours(_("This task was given to somebody else."))
    Question.objects.filter(assignment=assignment, news=True).update(news=False, seen_at=Now())
    LabelComment.objects.filter(Q(seen_at__isnull=True), assignment=assignment).update(seen_at=Now())
