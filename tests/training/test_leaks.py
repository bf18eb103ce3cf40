"""Leaks: what counts as one, that none gets away, and that nothing trains until a person has decided."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotation.models import AuditEvent, Membership, Project
from tests.factories import ModelFactory, PromptFactory
from tests.training.labels import demonstrate
from training import files
from training.errors import RunError, SnapshotError
from training.jobs import carry_out
from training.leaks import THRESHOLD, Leak, evened, jaccard, shingles, verdicts
from training.models import Job, LeakCheck, LeakPair, LeakState, Snapshot
from training.services import leaks as leak_services
from training.services import snapshots as snapshot_services
from training.services.jobs import job_claim, jobs_sweep
from training.services.leaks import leaks_accept
from training.services.runs import run_create
from training.services.snapshots import snapshot_build, snapshot_without_leaks

LONG = "Explain to a child of seven years, in a few friendly words, why the sky over the sea is blue by day."
NEAR = LONG.replace("by day", "at noon")


def row(id: str, text: str) -> dict[str, Any]:
    return {"id": id, "prompt": [{"role": "user", "content": text}]}


def found(train: list[str], held_out: list[str], folder: Path) -> list[tuple[bool, Leak | None]]:
    rows = [row(f"t{number}", text) for number, text in enumerate(train)]
    test = [row(f"h{number}", text) for number, text in enumerate(held_out)]
    scratch = folder / f"bands-{random.random()}"
    return [(leaks, leak) for _row, leaks, leak in verdicts(rows, {"test": test}, scratch)]


def test_the_same_prompt_in_other_case_and_spacing_is_an_exact_leak(tmp_path: Path) -> None:
    [(leaks, leak)] = found(["Why is  the sky\nBLUE?"], ["Why is the sky blue?"], tmp_path)
    assert leaks and leak is not None and leak.is_exact
    assert (leak.train_row, leak.held_out_row, leak.held_out_split) == ("t0", "h0", "test")


def test_a_prompt_with_a_word_changed_is_nearly_held_out_and_another_is_not(tmp_path: Path) -> None:
    pieces = shingles(evened(f"user: {LONG}")), shingles(evened(f"user: {NEAR}"))
    near, other = found([NEAR, "Name three rivers of Europe that reach the sea."], [LONG], tmp_path)
    assert near[1] is not None and near[1].similarity == pytest.approx(jaccard(*pieces)) and not near[1].is_exact
    assert THRESHOLD <= near[1].similarity < 1
    assert other == (False, None)


def test_chinese_is_compared_by_its_characters(tmp_path: Path) -> None:
    assert shingles("天空为什么") == {"天空", "空为", "为什", "什么"}
    text = "请用两三句话向一个七岁的孩子解释一下为什么天空是蓝色的。"
    (leaks, leak), other = found([text.replace("两三", "三四"), "请说出欧洲的三条河流。"], [text], tmp_path)
    assert leaks and leak is not None and leak.similarity >= THRESHOLD
    assert other == (False, None)


def test_labels_of_one_prompt_are_looked_at_once_and_all_leak(tmp_path: Path) -> None:
    verdict = found([LONG, LONG, LONG], [LONG], tmp_path)
    assert [leaks for leaks, _leak in verdict] == [True, True, True]
    assert [leak is not None for _leaks, leak in verdict] == [True, False, False]


def test_the_closest_of_several_is_named(tmp_path: Path) -> None:
    [(_leaks, leak)] = found([LONG], [LONG.replace("friendly words", "words"), NEAR, LONG.upper()], tmp_path)
    assert leak is not None and leak.held_out_row == "h2"


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 400), min_size=30, max_size=60), st.integers(0, 10**6))
def test_no_pair_above_the_threshold_gets_away(words: list[int], seed: int) -> None:
    """Against the plain comparison of everything with everything."""
    folder = files.fresh_folder()
    chance = random.Random(seed)
    held_out = [" ".join(f"w{word}" for word in words[at:] + words[:at]) for at in range(0, len(words), 10)]
    train = [" ".join(chance.choice(["x", word]) if chance.random() < 0.08 else word for word in text.split())
             for text in held_out]  # fmt: skip
    try:
        verdict = found(train, held_out, folder)
    finally:
        files.remove(folder)
    known: dict[str, bool] = {}
    for text, (leaks, _leak) in zip(train, verdict, strict=True):
        ours = shingles(evened(f"user: {text}"))
        best = max(jaccard(ours, shingles(evened(f"user: {other}"))) for other in held_out)
        assert leaks == known.setdefault(text, best >= THRESHOLD)


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    import tracemalloc

    def rows(number: int, word: str) -> Iterator[dict[str, Any]]:
        return (row(f"{word}{n}", f"{word} {n} {n * 7} {n * 13} tides and rivers") for n in range(number))

    def peak(number: int) -> int:
        tracemalloc.start()
        for _ in verdicts(rows(number, "train"), {"test": rows(number // 4, "test")}, tmp_path / str(number)):
            pass
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    assert peak(1000) < 1.5 * peak(250) + 100_000


# --- In a snapshot -------------------------------------------------------------------------------------


@pytest.fixture
def leaking(project: Project, alice: Membership, rita: Membership) -> Snapshot:
    for text, split in ((LONG, "train"), (NEAR, "validation"), ("Name three rivers of Europe.", "train")):
        demonstrate(PromptFactory(project=project, text=text, split=split), alice, "An answer.")
    return snapshot_build(project=project, kind="demonstrations", by=rita)


def train_on(snapshot: Snapshot, by: Membership) -> None:
    inputs = {"train": snapshot, "policy": ModelFactory(project=snapshot.project)}
    run_create(project=snapshot.project, stage="sft", config={}, inputs=inputs, by=by)


def test_nothing_trains_on_a_leaking_snapshot_until_it_is_accepted(leaking: Snapshot, ada: Membership) -> None:
    check = LeakCheck.objects.get(snapshot=leaking)
    assert (check.state, check.exact, check.near) == (LeakState.FOUND, 0, 1)
    pair = check.pairs.get()
    assert LONG in pair.train_prompt and NEAR in pair.held_out_prompt and pair.held_out_split == "validation"
    with pytest.raises(RunError, match="look at them, and leave them out or accept them"):
        train_on(leaking, ada)
    with pytest.raises(SnapshotError, match="Say in a sentence"):
        leaks_accept(snapshot=leaking, reason="ok", by=ada)
    leaks_accept(snapshot=leaking, reason="They ask for different times of day.", by=ada)
    train_on(leaking, ada)
    said = AuditEvent.objects.get(verb="snapshot.leaks_decide")
    assert said.actor == ada.user and said.detail["reason"] == "They ask for different times of day."


def test_a_leaking_snapshot_may_be_evaluated_on(leaking: Snapshot, ada: Membership) -> None:
    inputs = {"validation": leaking, "train": leaking, "policy": ModelFactory(project=leaking.project)}
    with pytest.raises(RunError):
        run_create(project=leaking.project, stage="sft", config={}, inputs=inputs, by=ada)
    model = ModelFactory(project=leaking.project)
    prompts = snapshot_build(project=leaking.project, kind="prompts", by=ada)
    run_create(project=leaking.project, stage="sample", config={}, inputs={"prompts": prompts, "policy": model}, by=ada)


def test_left_out_of_train_the_same_rows_are_another_snapshot(leaking: Snapshot, ada: Membership) -> None:
    made = snapshot_without_leaks(snapshot=leaking, by=ada)
    assert (leaking.counts, made.counts) == (
        {"train": 2, "validation": 1, "test": 0},
        {"train": 1, "validation": 1, "test": 0},
    )
    assert made.query == leaking.query | {"leaks": "leave_out"} and made.manifest["left_out"] == {"leaks": 1}
    train_on(made, ada)
    check = LeakCheck.objects.get(snapshot=leaking)
    assert (check.state, check.replaced_by) == (LeakState.LEFT_OUT, made)
    with pytest.raises(RunError, match="was replaced by"):
        train_on(leaking, ada)
    asked = {"leaks": "leave_out"}
    again = snapshot_build(project=leaking.project, kind="demonstrations", query=asked, by=ada)
    assert again == made  # asked for at the build it is the same bytes


def test_pairs_that_were_accepted_once_are_accepted_in_the_next_snapshot(leaking: Snapshot, ada: Membership) -> None:
    leaks_accept(snapshot=leaking, reason="They ask for different times of day.", by=ada)
    labeler = Membership.objects.get(user__username="alice")
    demonstrate(PromptFactory(project=leaking.project, text="Name two seas."), labeler, "An answer.")
    later = snapshot_build(project=leaking.project, kind="demonstrations", by=ada)
    check = LeakCheck.objects.get(snapshot=later)
    assert (check.state, check.reason, check.decided_by) == (
        LeakState.ACCEPTED,
        "They ask for different times of day.",
        ada.user,
    )
    demonstrate(PromptFactory(project=leaking.project, text=LONG + "!"), labeler, "An answer.")  # one that is new
    last = snapshot_build(project=leaking.project, kind="demonstrations", by=ada)
    assert LeakCheck.objects.get(snapshot=last).state == LeakState.FOUND


def test_a_decision_is_made_once(leaking: Snapshot, ada: Membership) -> None:
    snapshot_without_leaks(snapshot=leaking, by=ada)
    with pytest.raises(SnapshotError, match="nothing to decide"):
        leaks_accept(snapshot=leaking, reason="Too late for this decision.", by=ada)


def test_a_large_snapshot_is_checked_by_a_worker_and_waits_till_then(
    project: Project, alice: Membership, ada: Membership, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_services, "SMALL", 1)
    for split in ("train", "validation"):
        demonstrate(PromptFactory(project=project, text=f"{LONG} {split[:1]}", split=split), alice, "An answer.")
    snapshot = snapshot_build(project=project, kind="demonstrations", by=ada)
    with pytest.raises(RunError, match="still being checked"):
        train_on(snapshot, ada)
    assert jobs_sweep() and jobs_sweep()
    job = job_claim()
    assert job is not None and Job.objects.count() == 1
    carry_out(job)
    assert LeakCheck.objects.get(snapshot=snapshot).state == LeakState.FOUND
    assert not jobs_sweep()
    assert Snapshot.objects.get(pk=snapshot.pk).facts["rows"] == 2


def test_only_so_many_pairs_are_kept_and_all_are_counted(
    leaking: Snapshot, ada: Membership, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leak_services, "PAIRS_KEPT", 1)
    labeler = Membership.objects.get(user__username="alice")
    for text in (LONG + "?", LONG + "??"):
        demonstrate(PromptFactory(project=leaking.project, text=text), labeler, "An answer.")
    snapshot = snapshot_build(project=leaking.project, kind="demonstrations", by=ada)
    assert LeakPair.objects.filter(leak_check__snapshot=snapshot).count() == 1
    assert LeakCheck.objects.get(snapshot=snapshot).total == 3


def test_the_training_file_of_the_other_is_what_was_kept(leaking: Snapshot, ada: Membership) -> None:
    made = snapshot_without_leaks(snapshot=leaking, by=ada)
    path = files.path_of(made.artifact) / "train.jsonl"
    [kept] = [json.loads(line) for line in path.read_text().splitlines()]
    assert kept["prompt"][0]["content"] == "Name three rivers of Europe."
