"""What labelers and leads say to each other: kept, seen by those it is meant for, and nothing lost by it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from annotation.conversations import ConversationProblem
from annotation.errors import PlackettError
from annotation.models import (
    Assignment,
    AuditEvent,
    Demonstration,
    LabelComment,
    Membership,
    Project,
    Question,
    QuestionMessage,
)
from annotation.models.feedback import MAX_MESSAGES
from annotation.selectors.feedback import feedback_on, news_for, open_questions, questions_in, questions_of, returns_in
from annotation.selectors.forms import form_current
from annotation.selectors.rows import demonstrations_for
from annotation.services.accounts import imported_labeler, member_remove
from annotation.services.feedback import (
    FeedbackError,
    feedback_seen,
    label_comment,
    question_answer,
    question_ask,
    question_resolve,
    return_take_back,
)
from annotation.services.forms import form_publish
from annotation.services.labels import demonstration_submit
from annotation.services.queue import NotYours, assignment_next, draft_save
from tests.annotation.races import together
from tests.factories import MembershipFactory, ProjectFactory, TaskFactory, lease


def write(assignment: Assignment, text: str = "an answer") -> Demonstration:
    return demonstration_submit(
        assignment=assignment,
        text=text,
        submission_id=uuid.uuid4(),
        started_at=None,
        active_seconds=1,
        by=assignment.labeler,
    )


def send_back(assignment: Assignment, by: Membership) -> LabelComment:
    return label_comment(assignment=assignment, body="Again.", returns=True, by=by)


@pytest.fixture
def writing(project: Project, alice: Membership) -> Assignment:
    TaskFactory(prompt__project=project)
    return lease(alice)


def texts(question: Question) -> list[tuple[bool, str]]:
    return list(question.messages.order_by("id").values_list("by_labeler", "body"))


def test_a_question_waits_is_answered_and_is_news_until_it_is_seen(
    writing: Assignment, alice: Membership, rex: Membership
) -> None:
    project = writing.task.project
    question = question_ask(assignment=writing, body="Which tide?", by=alice)
    assert (question.state, open_questions(project), news_for(alice)) == ("open", 1, 0)
    question = question_answer(question=question, body="The *spring* tide.", by=rex)
    assert (question.state, open_questions(project), news_for(alice)) == ("answered", 0, 1)
    feedback_seen(assignment=writing, by=alice)
    assert news_for(alice) == 0
    question_ask(assignment=writing, body="And the neap tide?", by=alice)
    assert open_questions(project) == 1
    question = question_resolve(question=question, by=rex)
    assert (question.state, open_questions(project)) == ("resolved", 0)
    assert texts(question) == [(True, "Which tide?"), (False, "The *spring* tide."), (True, "And the neap tide?")]
    verbs = list(AuditEvent.objects.filter(verb__startswith="question").order_by("id").values_list("verb", "detail"))
    assert [verb for verb, _ in verbs] == [
        "question.ask",
        "question.answer",
        "question.ask",
        "question.resolve",
    ]
    assert "tide" not in str(verbs)  # that something was said, not what


def test_a_question_sent_twice_is_one_message(writing: Assignment, alice: Membership) -> None:
    for _ in range(2):
        question = question_ask(assignment=writing, body="Which?", by=alice)
    assert texts(question) == [(True, "Which?")] and Question.objects.count() == 1


def test_only_the_labeler_asks_and_nothing_without_words_or_end(
    writing: Assignment, alice: Membership, bob: Membership
) -> None:
    with pytest.raises(NotYours):
        question_ask(assignment=writing, body="Let me in.", by=bob)
    with pytest.raises(NotYours):
        feedback_seen(assignment=writing, by=bob)
    for body in ("  ", "x" * 4001, "a\0b"):
        with pytest.raises(ConversationProblem):
            question_ask(assignment=writing, body=body, by=alice)
    assert not Question.objects.exists()
    question = question_ask(assignment=writing, body="0", by=alice)
    rest = [QuestionMessage(question=question, by_labeler=True, body=str(n)) for n in range(1, MAX_MESSAGES)]
    QuestionMessage.objects.bulk_create(rest)
    with pytest.raises(FeedbackError, match="100 messages"):
        question_ask(assignment=writing, body="one more", by=alice)


def test_labelers_see_their_own_threads_alone(
    writing: Assignment, project: Project, alice: Membership, bob: Membership
) -> None:
    question_ask(assignment=writing, body="Which?", by=alice)
    assert [question.assignment for question in questions_of(alice)] == [writing]
    assert not questions_of(bob).exists() and news_for(bob) == 0


# --- Comments and returns ---------------------------------------------------------------------------------------------


def test_a_returned_label_stays_is_left_out_and_is_closed_by_the_next_revision(
    writing: Assignment, alice: Membership, rex: Membership
) -> None:
    project = writing.task.project
    label = write(writing)
    comment = label_comment(assignment=writing, body="Say which tide.", returns=True, by=rex)
    assert (comment.revision, news_for(alice), list(returns_in(project))) == (1, 1, [comment])
    label.refresh_from_db()
    assert label.is_current and Demonstration.objects.count() == 1  # nothing is deleted
    assert not demonstrations_for(project).exists()
    assert demonstrations_for(project, {"returned": True}).get() == label
    feedback_seen(assignment=writing, by=alice)
    assert news_for(alice) == 1  # it waits until it is edited
    edited = write(writing, "the spring tide")
    comment.refresh_from_db()
    assert comment.closed_at is not None and news_for(alice) == 0
    assert demonstrations_for(project).get() == edited and edited.revision == 2
    assert not returns_in(project).exists()
    assert AuditEvent.objects.get(verb="label.return").target_id == str(label.pk)


def test_a_return_is_taken_back_while_nobody_has_answered_it(writing: Assignment, rex: Membership) -> None:
    label = write(writing)
    with pytest.raises(FeedbackError, match="not waiting"):
        return_take_back(assignment=writing, by=rex)
    send_back(writing, rex)
    comment = return_take_back(assignment=writing, by=rex)
    assert comment.closed_at is not None and demonstrations_for(label.project).get() == label
    assert AuditEvent.objects.filter(verb="label.take_back").count() == 1
    assert send_back(writing, rex).closed_at is None  # and returned again


def test_the_same_words_again_are_no_edit_and_close_nothing(
    writing: Assignment, alice: Membership, rex: Membership
) -> None:
    key = uuid.uuid4()
    for _ in range(2):
        demonstration_submit(
            assignment=writing, text="one", submission_id=key, started_at=None, active_seconds=1, by=alice
        )
        if not LabelComment.objects.exists():
            label_comment(assignment=writing, body="More.", returns=True, by=rex)
    assert LabelComment.objects.get().closed_at is None


def test_a_plain_comment_returns_nothing(writing: Assignment, alice: Membership, rex: Membership) -> None:
    label = write(writing)
    label_comment(assignment=writing, body="Well said.", returns=False, by=rex)
    assert demonstrations_for(label.project).get() == label
    found = feedback_on([writing.pk])[writing.pk]
    assert found.returned is None and found.has_news and [row.body for row in found.comments] == ["Well said."]
    feedback_seen(assignment=writing, by=alice)
    assert news_for(alice) == 0 and not feedback_on([writing.pk])[writing.pk].has_news


def test_only_what_somebody_else_can_still_edit_is_returned(
    writing: Assignment, project: Project, alice: Membership, rex: Membership, ada: Membership
) -> None:
    with pytest.raises(FeedbackError, match="no label here yet"):
        send_back(writing, rex)
    write(writing)
    send_back(writing, rex)
    with pytest.raises(FeedbackError, match="returned already"):
        send_back(writing, rex)
    with pytest.raises(IntegrityError), transaction.atomic():
        LabelComment.objects.create(project=project, assignment=writing, revision=1, body="x", returns=True)
    TaskFactory(prompt__project=project)
    own = lease(rex)
    write(own)
    with pytest.raises(FeedbackError, match="your own label"):
        send_back(own, rex)
    TaskFactory(prompt__project=project)
    machine = assignment_next(labeler=imported_labeler(project=project, name="judge"))
    assert machine is not None
    write(machine)
    with pytest.raises(FeedbackError, match="not here"):
        send_back(machine, rex)
    write(writing, "edited")
    member_remove(membership=alice, by=ada)
    writing.refresh_from_db()
    writing.labeler.refresh_from_db()
    with pytest.raises(FeedbackError, match="not here"):
        send_back(writing, rex)


def test_lists_cost_the_same_however_long(
    project: Project, alice: Membership, rex: Membership, django_assert_num_queries: Any
) -> None:
    made: list[Assignment] = []
    for _ in range(4):
        TaskFactory(prompt__project=project)
        made.append(lease(alice))
        question_ask(assignment=made[-1], body="Which?", by=alice)
        write(made[-1])
        label_comment(assignment=made[-1], body="Well.", returns=False, by=rex)
    for keys in (made[:1], made):
        with django_assert_num_queries(3):
            found = feedback_on([assignment.pk for assignment in keys])
            assert all(row.question is not None and row.question.messages.all() for row in found.values())
    with django_assert_num_queries(2):
        rows = list(questions_in(project))
        assert [(row.assignment.labeler.pseudonym, row.assignment.task.prompt.text) for row in rows]
        assert all(row.messages.all() for row in rows)


# --- At once ----------------------------------------------------------------------------------------------------------


def tried(job: Callable[[], object]) -> bool:
    try:
        job()
    except PlackettError:
        return False
    return True


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
def test_what_several_people_do_at_once_is_done_once_and_loses_no_draft() -> None:
    project = ProjectFactory()
    alice, rex, ada = [MembershipFactory(project=project, role=role) for role in ("labeler", "reviewer", "admin")]
    TaskFactory(prompt__project=project)
    assignment = lease(alice)
    fields = form_current(project).fields

    def ask() -> object:
        return question_ask(assignment=assignment, body="Which?", by=alice)

    def save(text: str) -> object:
        return draft_save(
            assignment=Assignment.objects.get(pk=assignment.pk), draft={"text": text, "question": "Which?"}
        )

    def publish(by: Membership, **changes: bool) -> object:
        return form_publish(project=project, fields=fields | changes, based_on=1, by=by)

    with ThreadPoolExecutor(8) as threads:
        asked = together(threads, [lambda: tried(ask)] * 4 + [lambda: tried(lambda: save("half"))] * 4)
        assert all(asked) and Question.objects.get().messages.count() == 1
        assert Assignment.objects.get().draft["text"] == "half"
        write(assignment)
        jobs = [lambda by=by: tried(lambda: send_back(assignment, by)) for by in (rex, ada, rex, ada)]
        assert sorted(together(threads, jobs)) == [False, False, False, True]
        both = [lambda: publish(rex, allow_partial=True), lambda: publish(ada, allow_ties=False)]
        assert sorted(together(threads, [lambda job=job: tried(job) for job in both])) == [False, True]
    assert form_current(project).version == 2
