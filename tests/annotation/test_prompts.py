"""Adding and withdrawing prompts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from annotation.models import AuditEvent, Membership, Project, Prompt, TaskState
from annotation.selectors.prompts import prompt_counts, prompts_list
from annotation.services.prompts import AddReport, PromptError, PromptRow, prompt_withdraw, prompts_add
from annotation.splits import split_of
from tests.annotation.races import together
from tests.factories import ProjectFactory, PromptFactory, ResponseFactory, TaskFactory


def ask(text: str, **fields: object) -> PromptRow:
    return PromptRow(messages=[{"role": "user", "content": text}], **fields)  # type: ignore[arg-type]


def add(project: Project, *rows: PromptRow, pool: str = "sft") -> AddReport:
    return prompts_add(project=project, rows=rows, pool=pool, source="labeler", by=None)


def test_a_prompt_is_added_with_its_split_and_pool(project: Project, ada: Membership) -> None:
    row = ask("Why?", category="open_qa", language="zh-hans", group="an author", source_name="us", source_id="1")
    report = prompts_add(project=project, rows=[row], pool="rm", source="labeler", by=ada)
    prompt = Prompt.objects.get()
    assert (report.added, report.known, report.rejected, report.prompt_ids) == (1, 0, [], [prompt.pk])
    assert (prompt.pool, prompt.category, prompt.language, prompt.source_id) == ("rm", "open_qa", "zh-hans", "1")
    assert prompt.split == split_of("an author", project.split_salt)
    assert AuditEvent.objects.get(verb="prompts.add").detail == {"added": 1, "pool": "rm"}


def test_the_same_words_are_one_prompt_and_keep_their_pool(project: Project) -> None:
    first = add(project, ask("Why?"), ask("Why? "))
    assert (first.added, first.known) == (1, 1)
    again = add(project, ask("Why?"), ask("How?"), pool="eval")
    assert (again.added, again.known) == (1, 1)
    assert again.prompt_ids[0] == first.prompt_ids[0] == first.prompt_ids[1]
    assert prompt_counts(project) == {pool: {Prompt.objects.get(pool=pool).split: 1} for pool in ("sft", "eval")}


def test_prompts_of_one_group_share_a_split(db: None) -> None:
    project = ProjectFactory(split_salt="a fixed salt")  # of one drawn in 25 all thirty groups would be train
    add(project, *[ask(f"Why {number}?", group=f"author {number % 30}") for number in range(120)])
    by_group: dict[str, set[str]] = {}
    for group, split in Prompt.objects.values_list("group", "split"):
        by_group.setdefault(group, set()).add(split)
    assert all(len(splits) == 1 for splits in by_group.values())
    assert len(set().union(*by_group.values())) > 1


def test_a_prompt_without_a_group_is_one_of_its_own(project: Project) -> None:
    add(project, ask("Why?"))
    prompt = Prompt.objects.get()
    assert prompt.group == prompt.content_hash


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (PromptRow(messages="Why?"), "list of messages"),
        (PromptRow(messages=[{"role": "user", "content": ""}]), "empty"),
        (ask("Why?", category="poems"), "category"),
        (ask("Why?", language="Klingon, please"), "language"),
        (ask("Why?", language=None), "language"),
        (ask("Why?", pool="swimming"), "pool"),
        (ask("Why?", group="x" * 201), "at most 200"),
    ],
)
def test_a_bad_row_is_reported_and_the_others_added(project: Project, row: PromptRow, words: str) -> None:
    report = add(project, ask("Good?"), row, ask("Also good?"))
    assert (report.added, len(report.rejected)) == (2, 1)
    assert report.rejected[0].line == 2
    assert words in report.rejected[0].problem
    assert report.prompt_ids[1] is None


def test_an_id_of_the_source_means_one_text(project: Project) -> None:
    add(project, ask("Why?", source_name="set", source_id="7"))
    report = add(
        project,
        ask("How?", source_name="set", source_id="7"),
        ask("How?", source_name="other set", source_id="7"),
        ask("Who?", source_name="set", source_id="8"),
        ask("Where?", source_name="set", source_id="8"),
    )
    assert (report.added, [bad.line for bad in report.rejected]) == (2, [1, 4])
    assert "another text" in report.rejected[0].problem


@pytest.mark.parametrize(("pool", "source"), [("ocean", "labeler"), ("sft", "rumour")])
def test_pools_and_sources_are_known_ones(project: Project, pool: str, source: str) -> None:
    with pytest.raises(PromptError, match="Choose one of"):
        prompts_add(project=project, rows=[], pool=pool, source=source, by=None)


def test_adding_many_takes_few_queries(project: Project) -> None:
    def queries(count: int, stem: str) -> int:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            add(project, *[ask(f"{stem} {number}?") for number in range(count)])
        return len(captured)

    # SQLite takes at most 999 parameters an INSERT, so a larger chunk is a few INSERTs more and no other query.
    few, many = queries(20, "few"), queries(400, "many")
    assert many - few <= 8


@pytest.mark.services
def test_two_who_add_the_same_prompts_make_them_once(transactional_db: None, project: Project) -> None:
    rows = [ask(f"Why {number}?") for number in range(40)]
    with ThreadPoolExecutor(4) as threads:
        reports = together(threads, [lambda: add(project, *rows)] * 4)
    assert Prompt.objects.count() == 40
    assert sum(report.added for report in reports) == 40
    assert sum(report.known for report in reports) == 120
    stored = {prompt.content_hash: prompt.pk for prompt in Prompt.objects.all()}
    assert all(set(report.prompt_ids) == set(stored.values()) for report in reports)


def test_a_withdrawn_prompt_is_offered_no_more(project: Project, ada: Membership) -> None:
    task = TaskFactory(prompt__project=project)
    prompt_withdraw(prompt=task.prompt, by=ada)
    task.refresh_from_db()
    assert task.state == TaskState.WITHDRAWN
    assert not prompts_list(project)
    assert [prompt.pk for prompt in prompts_list(project, withdrawn=True)] == [task.prompt_id]
    withdrawn_at = task.prompt.withdrawn_at
    assert prompt_withdraw(prompt=task.prompt, by=ada).withdrawn_at == withdrawn_at
    assert AuditEvent.objects.filter(verb="prompt.withdraw").count() == 1


def test_lists_filter_search_and_count(project: Project) -> None:
    cat = PromptFactory(project=project, text='Tell me of 猫 and "dogs"', pool="rm", category="chat", language="zh")
    other = PromptFactory(project=project, text="Nothing", source_id="n-1")
    ResponseFactory.create_batch(3, prompt=cat)
    TaskFactory(prompt=cat)
    assert list(prompts_list(project)) == [cat, other]
    for found in (
        prompts_list(project, text="猫"),
        prompts_list(project, text='"DOGS"'),
        prompts_list(project, pool="rm", category="chat", language="zh", split="train"),
    ):
        assert [(prompt.pk, prompt.response_count, prompt.label_count) for prompt in found] == [(cat.pk, 3, 0)]
    assert list(prompts_list(project, text="n-1")) == [other]
    assert not prompts_list(project, text="100%")
