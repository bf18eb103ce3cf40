"""Prompts written by labelers: the three styles, what becomes of them, what they may not be."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from hypothesis import given
from hypothesis import strategies as st

from annotation.conversations import ConversationProblem, clean_messages
from annotation.models import Assignment, AuditEvent, Membership, Project, Prompt, PromptBrief, Task, WrittenPrompt
from annotation.prompt_writing import MAX_PAIRS, messages_of, parts_clean
from annotation.selectors.briefs import briefs_of
from annotation.selectors.health import queue_health
from annotation.selectors.labels import labels_of
from annotation.selectors.rows import prompt_rows
from annotation.selectors.taken import labels_taken
from annotation.services.labels import LabelError
from annotation.services.prompt_writing import prompt_tasks_create, prompt_tasks_withdraw, written_prompt_submit
from annotation.services.prompts import PromptError
from annotation.services.queue import assignment_next, assignment_skip
from annotation.services.queue_settings import QueueSettingsError, kind_settings_update
from annotation.services.tasks import TaskError, demonstration_tasks_create
from tests.factories import PromptFactory, TaskFactory, lease

PAIR = {"query": "cat", "answer": "chat"}


def ask(project: Project, by: Membership, **more: Any) -> PromptBrief:
    return prompt_tasks_create(
        **{"project": project, "style": "plain", "number": 1, "pool": "sft", "by": by} | more  # type: ignore[arg-type]
    )


def write(assignment: Assignment, text: str = "Why is the sea salty?", **more: Any) -> WrittenPrompt:
    form: dict[str, Any] = {"parts": {"text": text}, "category": "open_qa", "language": "en"}
    form |= {"submission_id": uuid.uuid4(), "started_at": None, "active_seconds": 9, "by": assignment.labeler}
    return written_prompt_submit(assignment=assignment, **form | more)


# --- The styles, pure -------------------------------------------------------------------------------


def test_a_few_shot_prompt_is_its_examples_as_turns_under_the_instruction() -> None:
    parts = {"instruction": "Translate.", "pairs": [PAIR, {"query": "dog", "answer": "chien"}], "query": "bird"}
    assert [turn["content"] for turn in messages_of("few_shot", parts_clean("few_shot", parts))] == [
        "Translate.\n\ncat", "chat", "dog", "chien", "bird",
    ]  # fmt: skip


words = st.text(alphabet="ab \n中é", max_size=8)
pairs = st.lists(st.fixed_dictionaries({"query": words, "answer": words}), max_size=MAX_PAIRS + 2)


@given(style=st.sampled_from(["plain", "few_shot"]), text=words, instruction=words, pairs=pairs, query=words)
def test_what_is_taken_makes_a_conversation_and_the_rest_is_refused_in_words(
    style: str, text: str, instruction: str, pairs: list[dict[str, str]], query: str
) -> None:
    said = {"text": text, "instruction": instruction, "pairs": pairs, "query": query}
    try:
        cleaned = parts_clean(style, said)
    except ConversationProblem as problem:
        assert problem.message
        return
    messages = messages_of(style, cleaned)
    assert clean_messages(messages) == messages and messages[-1]["role"] == "user"
    whole = [pair for pair in pairs if pair["query"].strip() or pair["answer"].strip()]
    assert len(messages) == (1 if style == "plain" else 2 * len(whole) + 1)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"instruction": "x", "pairs": [PAIR], "query": "y"}, "there are 1 examples"),
        ({"instruction": "x", "pairs": [PAIR, {"query": "dog", "answer": " "}], "query": "y"}, "answer of example 2"),
        ({"instruction": "", "pairs": [PAIR, PAIR], "query": "y"}, "the instruction is empty"),
        ({"instruction": "x", "pairs": [PAIR, PAIR]}, "the query to be answered"),
        ({"instruction": "x", "pairs": "cat", "query": "y"}, "must be a list"),
        ({"instruction": "x", "pairs": [1, 2], "query": "y"}, "must be a list"),
    ],
)
def test_what_is_missing_in_a_few_shot_prompt_is_named(parts: dict[str, Any], words: str) -> None:
    with pytest.raises(ConversationProblem, match=words):
        parts_clean("few_shot", parts)


# --- Asking -----------------------------------------------------------------------------------------


def test_a_lead_asks_for_prompts_and_each_is_a_task(project: Project, ada: Membership, alice: Membership) -> None:
    brief = ask(project, ada, number=3, style="user_based", use_case="  Answering guests' mail.  ", language="de")
    tasks = Task.objects.filter(brief=brief)
    assert {(task.kind, task.overlap, task.prompt, task.language) for task in tasks} == {("prompt", 1, None, "de")}
    assert brief.use_case == "Answering guests' mail."
    assert AuditEvent.objects.get(verb="tasks.create").detail["made"] == 3
    write(lease(alice), language="de")
    (found,) = briefs_of(project)
    assert (found.wanted, found.written, found.open_now) == (3, 1, 2)  # type: ignore[attr-defined]
    taken = labels_taken(project)["prompt"]
    assert taken["open_qa"].taken == 1 and taken["other"].waiting == 2  # counted where its labeler filed it


@pytest.mark.parametrize(
    "wrong",
    [
        {"style": "user_based"}, {"style": "poem"}, {"number": 0}, {"number": 10_001}, {"pool": "pond"},
        {"language": "no language"}, {"follow_up": "ranking"},
    ],
)  # fmt: skip
def test_a_brief_that_cannot_be_is_refused_in_words(project: Project, ada: Membership, wrong: dict[str, Any]) -> None:
    with pytest.raises((TaskError, PromptError, ConversationProblem)) as refused:
        ask(project, ada, **wrong)
    assert refused.value.message and not Task.objects.exists()


def test_only_a_task_to_write_a_prompt_has_a_brief_and_no_prompt(project: Project, ada: Membership) -> None:
    brief = ask(project, ada)
    for wrong in (
        {"kind": "prompt"}, {"kind": "demonstration"}, {"kind": "ranking", "brief": brief},
        {"kind": "prompt", "brief": brief, "overlap": 2}, {"kind": "prompt", "brief": brief, "prompt": PromptFactory()},
    ):  # fmt: skip
        with pytest.raises(IntegrityError), transaction.atomic():
            Task.objects.create(project=project, open_slots=1, **wrong)


def test_a_lead_asks_for_no_more_and_what_is_in_work_still_counts(
    project: Project, ada: Membership, alice: Membership, bob: Membership
) -> None:
    brief = ask(project, ada, number=3)
    assignment = lease(alice)
    assert (prompt_tasks_withdraw(brief=brief, by=ada), prompt_tasks_withdraw(brief=brief, by=ada)) == (3, 0)
    assert assignment_next(labeler=bob) is None
    assert write(assignment).counts
    assert AuditEvent.objects.get(verb="tasks.withdraw").detail["withdrawn"] == 3
    (found,) = briefs_of(project)
    assert (found.wanted, found.written, found.open_now) == (3, 1, 0)  # type: ignore[attr-defined]


def test_its_overlap_is_not_to_be_changed(project: Project, ada: Membership) -> None:
    kind_settings_update(project=project, kind="prompt", by=ada, weight=3, overlap=1)
    with pytest.raises(QueueSettingsError, match="yields one prompt"):
        kind_settings_update(project=project, kind="prompt", by=ada, overlap=3)


# --- Handing out ------------------------------------------------------------------------------------


def test_the_queue_hands_it_out_by_weight_and_language(project: Project, ada: Membership, alice: Membership) -> None:
    alice.languages = ["de"]
    alice.save()
    ask(project, ada, language="en")
    assert assignment_next(labeler=alice) is None
    ask(project, ada)  # in which language is for the labeler to say
    kind_settings_update(project=project, kind="prompt", by=ada, weight=0)
    assert assignment_next(labeler=alice) is None
    kind_settings_update(project=project, kind="prompt", by=ada, weight=1)
    assert lease(alice).task.kind == "prompt"


def test_it_can_be_skipped(project: Project, ada: Membership, alice: Membership, bob: Membership) -> None:
    ask(project, ada)
    assignment_skip(assignment=lease(alice), reason="other", by=alice)
    assert assignment_next(labeler=alice) is None and lease(bob).task.kind == "prompt"


# --- Writing ----------------------------------------------------------------------------------------


def test_what_is_written_is_a_prompt_of_its_labelers_group(
    project: Project, ada: Membership, alice: Membership
) -> None:
    ask(project, ada, number=3, pool="rm")
    written = [write(lease(alice), text) for text in ("One?", "Two?", "Three?")]
    prompts = list(Prompt.objects.all())
    assert [prompt.text for prompt in prompts] == ["One?", "Two?", "Three?"]
    assert {(prompt.source, prompt.author, prompt.pool, prompt.category) for prompt in prompts} == {
        ("labeler", alice, "rm", "open_qa")
    }
    assert len({(prompt.group, prompt.split) for prompt in prompts}) == 1 and alice.pseudonym in prompts[0].group
    assert [label.prompt for label in written] == prompts and all(label.counts for label in written)
    assert [row["style"] for row in prompt_rows(project)] == ["plain"] * 3
    assert {row["source"] for row in prompt_rows(project)} == {"labeler"}
    assert len(labels_of(alice)) == 3 and labels_of(alice)[0].prompt.text == "Three?"
    health = {kind.kind: kind for kind in queue_health(project)[1]}["prompt"]
    assert (health.labels, health.a_day[-1], health.median_seconds) == (3, 3, 9)


def test_the_same_submit_twice_is_one_prompt(project: Project, ada: Membership, alice: Membership) -> None:
    ask(project, ada)
    assignment, key = lease(alice), uuid.uuid4()
    assert write(assignment, submission_id=key) == write(assignment, submission_id=key)
    assert Prompt.objects.count() == WrittenPrompt.objects.count() == 1


def test_a_prompt_that_is_here_is_refused_and_nothing_changes(
    project: Project, ada: Membership, alice: Membership
) -> None:
    ask(project, ada)
    PromptFactory(project=project, messages=[{"role": "user", "content": "Known?"}])
    assignment = lease(alice)
    with pytest.raises(LabelError, match="has this very prompt already"):
        write(assignment, " Known? ")
    assert not WrittenPrompt.objects.exists() and Prompt.objects.count() == 1
    assignment.refresh_from_db()
    assert assignment.status == "leased"
    assert write(assignment, "Unknown?").revision == 1


@pytest.mark.parametrize("wrong", [{"category": "poem"}, {"category": ""}, {"language": ""}, {"language": "a b"}])
def test_what_it_is_filed_under_must_be_there(
    project: Project, ada: Membership, alice: Membership, wrong: dict[str, str]
) -> None:
    ask(project, ada)
    with pytest.raises(PromptError):
        write(lease(alice), **wrong)


def test_an_edit_is_a_revision_with_a_prompt_of_its_own(project: Project, ada: Membership, alice: Membership) -> None:
    ask(project, ada)
    assignment = lease(alice)
    first = write(assignment, "Draft?")
    second = write(assignment, "Final?")
    assert (second.revision, second.prompt.text) == (2, "Final?")
    assert [row["prompt"][0]["content"] for row in prompt_rows(project)] == ["Final?"]
    third = write(assignment, "Draft?", category="chat")  # as it was, elsewhere
    assert third.prompt == first.prompt and third.revision == 3
    assert [(row["prompt"][0]["content"], row["category"]) for row in prompt_rows(project)] == [("Draft?", "chat")]
    fourth = write(assignment, "Draft?", category="other")
    assert (fourth.prompt, Prompt.objects.get(withdrawn_at=None).category) == (first.prompt, "other")
    assert WrittenPrompt.objects.filter(is_current=True).get() == fourth


def test_a_prompt_that_work_was_made_from_stays(project: Project, ada: Membership, alice: Membership) -> None:
    ask(project, ada)
    assignment = lease(alice)
    label = write(assignment)
    demonstration_tasks_create(project=project, prompts=[label.prompt], by=ada)
    with pytest.raises(LabelError, match="Work was made from your prompt"):
        write(assignment, "Another?")
    assert WrittenPrompt.objects.count() == 1 and Prompt.objects.get().withdrawn_at is None


def test_a_task_to_answer_it_is_made_at_once_where_the_brief_says_so(
    project: Project, ada: Membership, alice: Membership, bob: Membership
) -> None:
    ask(project, ada, follow_up="demonstration")
    label = write(lease(alice))
    task = lease(bob, "demonstration").task
    assert task.prompt == label.prompt
    with pytest.raises(LabelError, match="Work was made from your prompt"):
        write(label.assignment, "Another?")


def test_a_late_prompt_is_kept_and_marked(
    project: Project, ada: Membership, alice: Membership, bob: Membership
) -> None:
    ask(project, ada)
    mine = lease(alice)
    Assignment.objects.filter(pk=mine.pk).update(lease_until="2020-01-01T00:00:00Z")
    write(lease(bob), "Bob's?")
    late = write(mine, "Alice's?")
    assert not late.counts and {prompt.text for prompt in Prompt.objects.all()} == {"Bob's?", "Alice's?"}


def test_prompts_for_evaluation_are_labels_for_evaluation(project: Project, ada: Membership, alice: Membership) -> None:
    TaskFactory(prompt=PromptFactory(project=project), state="withdrawn")
    ask(project, ada, pool="eval")
    assert write(lease(alice)).purpose == "eval"
