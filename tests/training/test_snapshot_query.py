"""A snapshot's query: each predicate, the one label that stands for a task, held-out labelers, and the same bytes."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation.fields import default_ranking_fields
from annotation.models import Membership, Project, Purpose, Response
from annotation.rankings import agreement, most_agreed
from annotation.selectors.forms import flag_choices, form_current
from annotation.selectors.rows import QueryProblem
from annotation.services.forms import form_publish
from annotation.services.labels import RankedItem, ranking_submit
from frontend.project_forms.snapshots import SnapshotForm
from frontend.snapshot_page import query_words
from tests.cast import member
from tests.factories import PromptFactory, RankingTaskFactory, lease
from tests.training.labels import demonstrate, demonstrations
from training import files
from training.errors import RunError, SnapshotError
from training.inputs import HELD_OUT_LABELERS
from training.models import Snapshot
from training.selectors.snapshots import snapshot_preview, snapshot_rows
from training.services.runs import run_create
from training.services.snapshots import snapshot_build, whole_query

# --- Which label agrees most --------------------------------------------------------------------------------


def test_the_label_that_agrees_most_by_hand() -> None:
    """Answers A B C. One says A>B>C, two A>C>B, three C>A>B.

    One and two agree on AB and AC and not on BC: +1. One and three agree on AB alone: -1. Two and three agree on AB and
    BC and not on AC: +1. So one has 0, two has 2, three has 0.
    """
    assert most_agreed([[1, 2, 3], [1, 3, 2], [2, 3, 1]]) == 1


def test_a_cycle_of_majorities_still_gives_a_ranking_that_somebody_made() -> None:
    assert most_agreed([[1, 2, 3], [3, 1, 2], [2, 3, 1]]) == 0  # all agree equally: the first


def test_ties_and_unranked_answers_say_nothing() -> None:
    assert most_agreed([[1, 1, 1], [1, 2, None], [1, 2, 3]]) == 1
    assert most_agreed([[2, 1]]) == 0


ranks = st.lists(st.none() | st.integers(1, 4), min_size=4, max_size=4)


@given(st.lists(ranks, min_size=1, max_size=6))
def test_no_other_label_agrees_more(given_ranks: list[list[int | None]]) -> None:
    def score(place: int) -> int:
        total = 0
        for other, theirs in enumerate(given_ranks):
            if other != place:
                agreed, compared = agreement(given_ranks[place], theirs)
                total += agreed - (compared - agreed)
        return total

    best = most_agreed(given_ranks)
    assert score(best) == max(score(place) for place in range(len(given_ranks)))
    assert all(score(place) < score(best) for place in range(best))


# --- In a snapshot ----------------------------------------------------------------------------------------------


@pytest.fixture
def carol(project: Project) -> Membership:
    return member(project, "carol", "labeler")


def rank_as(labeler: Membership, order: list[int], flags: dict[int, list[str]] | None = None) -> None:
    """Rank the answers of the next task, which are named by their number in the order of their ids."""
    assignment = lease(labeler, "ranking")
    answers = Response.objects.filter(tasks=assignment.task).order_by("id")
    items = [
        RankedItem(response_id=answer.pk, rank=rank, rating=4, flags=(flags or {}).get(number, []))
        for number, (answer, rank) in enumerate(zip(answers, order, strict=True))
    ]
    ranking_submit(
        assignment=assignment, items=items, submission_id=uuid4(), started_at=None, active_seconds=1, by=labeler
    )


@pytest.fixture
def ranked(project: Project, alice: Membership, bob: Membership, carol: Membership) -> Project:
    """One task, ranked by three: bob's ranking agrees most with the others'."""
    RankingTaskFactory(prompt=PromptFactory(project=project, pool="rm"), answers=3, overlap=3)
    rank_as(alice, [1, 2, 3])
    rank_as(bob, [1, 3, 2])
    rank_as(carol, [2, 3, 1])
    return project


def build(project: Project, by: Membership, kind: str = "rankings", **query: Any) -> Snapshot:
    return snapshot_build(project=project, kind=kind, query=query, by=by)


def labelers(snapshot: Snapshot, split: str = "train") -> set[str]:
    return {row["labeler"] for row in snapshot_rows(snapshot, split)}


@pytest.mark.parametrize(
    ("overlap", "who"), [("all", ["alice", "bob", "carol"]), ("latest", ["carol"]), ("majority", ["bob"])]
)
def test_one_label_or_all_stand_for_a_task(
    ranked: Project, rita: Membership, overlap: str, who: list[str], request: pytest.FixtureRequest
) -> None:
    snapshot = build(ranked, rita, overlap=overlap)
    assert labelers(snapshot) == {request.getfixturevalue(name).pseudonym for name in who}
    assert snapshot_preview(ranked, "rankings", {"overlap": overlap})["counts"] == snapshot.counts


def test_labels_by_some_people_alone_or_without_some(
    ranked: Project, rita: Membership, alice: Membership, bob: Membership, carol: Membership
) -> None:
    assert labelers(build(ranked, rita, labelers=[alice.pseudonym])) == {alice.pseudonym}
    assert labelers(build(ranked, rita, labelers_out=[alice.pseudonym])) == {bob.pseudonym, carol.pseudonym}
    # Without bob the other two contradict each other equally: the first submitted stands for the task.
    without = build(ranked, rita, overlap="majority", labelers_out=[bob.pseudonym])
    assert labelers(without) == {alice.pseudonym}


def test_held_out_labelers_are_a_split_of_their_own_and_train_nothing(
    ranked: Project, rita: Membership, ada: Membership, alice: Membership, bob: Membership, carol: Membership
) -> None:
    query = {"held_out_labelers": [bob.pseudonym]}
    snapshot = build(ranked, rita, **query)
    assert snapshot.counts == {"train": 2, "validation": 0, "test": 0, HELD_OUT_LABELERS: 1}
    assert labelers(snapshot, HELD_OUT_LABELERS) == {bob.pseudonym}
    assert snapshot_preview(ranked, "rankings", query)["counts"] == snapshot.counts
    # What bob says does not choose what is trained on, nor does his label replace another's.
    for overlap, who in (("majority", alice), ("latest", carol)):
        one = build(ranked, rita, overlap=overlap, **query)
        assert labelers(one) == {who.pseudonym} and labelers(one, HELD_OUT_LABELERS) == {bob.pseudonym}
        assert snapshot_preview(ranked, "rankings", {"overlap": overlap, **query})["counts"] == one.counts
    alone = build(ranked, rita, held_out_labelers=[alice.pseudonym, bob.pseudonym, carol.pseudonym])
    with pytest.raises(RunError, match="has no rows for the input"):
        run_create(
            project=ranked, stage="reward", config={}, inputs={"train": alone, "policy": policy_of(ranked)}, by=ada
        )


def policy_of(project: Project) -> Any:
    from tests.factories import ModelFactory

    return ModelFactory(project=project)


def test_flagged_answers_go_alone_or_with_their_ranking(project: Project, alice: Membership, rita: Membership) -> None:
    for number, flags in enumerate(({2: ["hallucination"]}, {0: ["expresses_opinion"]}, {0: ["hallucination"],
                                   1: ["hallucination"]})):  # fmt: skip
        RankingTaskFactory(prompt=PromptFactory(project=project, pool="rm", text=f"Prompt {number}"), answers=3)
        rank_as(alice, [1, 2, 3], flags)
    out = {"flags_out": ["hallucination"]}
    whole = build(project, rita, **out)
    assert [row["ranks"] for row in snapshot_rows(whole, "train")] == [[1, 2, 3]]
    alone = build(project, rita, flagged="answer", **out)
    rows = list(snapshot_rows(alone, "train"))
    assert [row["ranks"] for row in rows] == [[1, 2], [1, 2, 3]]  # the third has one answer left, which is no ranking
    assert all(set(row["presented_order"]) == {item["id"] for item in row["completions"]} for row in rows)
    for query in (out, {**out, "flagged": "answer"}):
        assert snapshot_preview(project, "rankings", query)["total"] == build(project, rita, **query).counts["train"]


def test_flags_of_the_projects_own_leave_out_too(project: Project, alice: Membership, rita: Membership) -> None:
    fields = default_ranking_fields()
    own = [{"key": "too_long", "label": "Says more than was asked"}]
    fields |= {"own_flags": own, "flags": ["too_long"]}
    form_publish(project=project, fields=fields, based_on=form_current(project).version, by=rita)
    for number, flags in enumerate(({2: ["too_long"]}, {})):
        RankingTaskFactory(prompt=PromptFactory(project=project, pool="rm", text=f"Prompt {number}"), answers=3)
        rank_as(alice, [1, 2, 3], flags)
    out = {"flags_out": ["too_long"]}
    assert build(project, rita, **out).counts["train"] == 1
    alone = build(project, rita, flagged="answer", **out)
    assert [len(row["ranks"]) for row in snapshot_rows(alone, "train")] == [2, 3]
    said = dict(query_words(alone.query, flag_choices(project)))
    assert said["Without answers flagged as"] == "Says more than was asked"
    assert SnapshotForm(project=project).fields["flags_out"].choices[-1] == ("too_long", "Says more than was asked")
    with pytest.raises(QueryProblem, match=r"flags_out is 'too_lang'; it must be one of .*too_long"):
        build(project, rita, flags_out=["too_lang"])


def test_what_has_no_majority_or_no_flags_is_refused(project: Project, alice: Membership, rita: Membership) -> None:
    demonstrations(project, alice, 1)
    with pytest.raises(QueryProblem, match="no majority"):
        build(project, rita, "demonstrations", overlap="majority")
    with pytest.raises(QueryProblem, match="Only answers in rankings have flags"):
        build(project, rita, "demonstrations", flags_out=["hallucination"])
    with pytest.raises(SnapshotError, match="Nobody in this project has the pseudonym p-unknown"):
        build(project, rita, "demonstrations", held_out_labelers=["p-unknown"])
    with pytest.raises(SnapshotError, match="Leaks is"):
        build(project, rita, "demonstrations", leaks="ignore")


def test_every_filter_is_written_out_and_said_in_words(project: Project) -> None:
    whole = whole_query("rankings", {})
    assert whole == {
        "pools": [], "splits": [], "categories": [], "languages": [], "origins": [], "purpose": Purpose.TRAIN,
        "labelers": [], "labelers_out": [], "held_out_labelers": [], "flags_out": [], "flagged": "ranking",
        "overlap": "all", "extras": False, "returned": False, "since": None, "until": None,
        "leaks": "keep", "ties": "drop",
    }  # fmt: skip
    assert "flagged" not in whole_query("demonstrations", {}) and "labelers" not in whole_query("prompts", {})
    said = dict(query_words(whole | {"flags_out": ["hallucination"], "labelers_out": ["p1"], "overlap": "majority"}))
    assert said["Without answers flagged as"] == "Makes something up"
    assert said["Where an answer has one of these flags"] == "leave out the whole ranking"
    assert said["No labels by"] == "p1"
    assert said["Where several people labeled"] == "only the ranking of a task that agrees most with the others"


LISTS = {
    "pools": ["sft", "rm", "ppo"],
    "languages": ["en", "zh"],
    "origins": ["human", "imported", "simulated"],
    "categories": ["chat", "other"],
}
queries = st.fixed_dictionaries(
    {},
    optional={
        **{name: st.lists(st.sampled_from(values), max_size=4) for name, values in LISTS.items()},
        "overlap": st.sampled_from(["all", "latest"]),
        "purpose": st.sampled_from(["train", ""]),
        "leaks": st.sampled_from(["keep", "leave_out"]),
        "since": st.sampled_from(["2020-01-01", "2020-01-01T00:00:00+00:00"]),
    },
)


@given(queries, st.randoms(use_true_random=False))
def test_the_same_query_in_another_spelling_is_the_same_query(query: dict[str, Any], random: Any) -> None:
    """Order, repetition and defaults left out or written out change nothing; and what is whole stays as it is."""
    names = list(query)
    random.shuffle(names)
    spelled = {
        name: random.sample(value * 2, len(value) * 2) if isinstance(value := query[name], list) else value
        for name in names
    }
    for kind in ("demonstrations", "rankings", "prompts"):
        whole = whole_query(kind, query)
        assert whole_query(kind, spelled) == whole == whole_query(kind, whole)


def test_the_same_query_on_the_same_rows_is_the_same_bytes(
    project: Project, alice: Membership, rita: Membership
) -> None:
    for number in range(4):
        split = "validation" if number == 1 else "train"
        demonstrate(PromptFactory(project=project, text=f"Ask {number}", split=split), alice, f"Say {number}")
    asked = [{}, {"pools": ["sft", "rm"]}, {"leaks": "leave_out"}, {"held_out_labelers": [alice.pseudonym]}]
    for query in asked:
        first = build(project, rita, "demonstrations", **query)
        content = {path.name: path.read_bytes() for path in files.path_of(first.artifact).iterdir()}
        Snapshot.objects.all().delete()
        files.remove(files.path_of(first.artifact))
        first.artifact.delete()
        again = build(project, rita, "demonstrations", **query)
        assert again.sha256 == first.sha256
        assert {path.name: path.read_bytes() for path in files.path_of(again.artifact).iterdir()} == content
