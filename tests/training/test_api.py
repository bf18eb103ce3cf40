"""The API of snapshots, runs and models. Who may: test_every_address."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from annotation.models import Membership
from annotation.services.labels import RankedItem, demonstration_submit, ranking_submit
from tests.annotation.test_api import Program
from tests.factories import ModelFactory, PromptFactory, RankingTaskFactory, RunFactory, TaskFactory, lease
from training.jobs import carry_out
from training.models import Run
from training.services.jobs import job_claim

pytestmark = pytest.mark.django_db


def label_both_kinds(labeler: Membership) -> None:
    """One demonstration and one ranking of four answers, the first two tied."""
    shared: dict[str, Any] = {"started_at": None, "active_seconds": 1, "by": labeler.user}
    for factory in (TaskFactory, RankingTaskFactory):
        factory(prompt=PromptFactory(project=labeler.project, split="train"))
        assignment = lease(labeler)
        if factory is TaskFactory:
            demonstration_submit(assignment=assignment, text="An answer.", submission_id=uuid.uuid4(), **shared)
        else:
            ranks = zip(assignment.presented_order, (1, 1, 2, 3), strict=True)
            items = [RankedItem(response_id=uuid.UUID(key), rank=rank, rating=4) for key, rank in ranks]
            ranking_submit(assignment=assignment, items=items, submission_id=uuid.uuid4(), **shared)


def lines_of(answer: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in b"".join(answer.streaming_content).splitlines()]


def test_a_snapshot_is_built_once_and_downloaded_in_each_form(alice: Membership, rita: Membership) -> None:
    label_both_kinds(alice)
    program = Program(rita, "read", "export")
    made = [program.send("POST", "snapshots/", kind="rankings", query={"ties": "half"}).json() for _ in range(2)]
    assert made[0]["id"] == made[1]["id"]
    assert made[0]["counts"]["train"] == 1 and len(made[0]["sha256"]) == 64
    path = f"snapshots/{made[0]['id']}/download/"
    [row] = lines_of(program.get(path))
    assert sorted(row["ranks"]) == [1, 1, 2, 3]
    pairs = lines_of(program.get(path, form="preference", ties="drop"))
    assert len(pairs) == 5 and set(pairs[0]) == {"prompt", "chosen", "rejected"}
    assert len(lines_of(program.get(path, form="preference"))) == 7  # the snapshot's own policy: a tie both ways round
    refused = program.get(path, form="prompt-completion")
    assert refused.status_code == 400 and "preference" in refused.json()["detail"]

    demonstrations = program.send("POST", "snapshots/", kind="demonstrations").json()
    [row] = lines_of(program.get(f"snapshots/{demonstrations['id']}/download/", form="prompt-completion"))
    assert row["completion"] == [{"role": "assistant", "content": "An answer."}]


def test_an_empty_snapshot_is_refused_in_words(rita: Membership) -> None:
    answer = Program(rita, "export").send("POST", "snapshots/", kind="rankings")
    assert answer.status_code == 400 and answer.json()["detail"].startswith("No ranking matches.")


def test_a_run_that_cannot_be_is_refused_in_words_and_a_good_one_waits(ada: Membership, alice: Membership) -> None:
    label_both_kinds(alice)
    program = Program(ada, "read", "export", "launch")
    snapshot = program.send("POST", "snapshots/", kind="demonstrations").json()["id"]
    policy = str(ModelFactory(project=ada.project).pk)
    inputs = {"train": snapshot, "policy": policy}
    refused = program.send("POST", "runs/", stage="sft", inputs=inputs, config={"learning_rate": -1})
    assert refused.status_code == 400 and "learning_rate" in refused.json()["detail"]
    assert program.send("POST", "runs/", stage="sft", inputs={"train": snapshot}).status_code == 400
    assert program.send("POST", "runs/", stage="sft", inputs={"train": ada.project.pk.hex}).status_code == 404
    assert Run.objects.count() == 0

    run = program.send("POST", "runs/", stage="sft", inputs=inputs, config={"epochs": 1}).json()
    assert (run["state"], run["config"]) == ("queued", {"epochs": 1})
    assert {row["name"] for row in run["inputs"]} == {"train", "policy"}
    assert program.get(f"runs/{run['id']}/metrics/").json() == {"step": [], "metrics": {}}
    assert program.send("POST", f"runs/{run['id']}/pause/").json()["state"] == "paused"
    assert program.send("POST", f"runs/{run['id']}/resume/").json()["state"] == "queued"
    assert program.send("POST", f"runs/{run['id']}/cancel/").json()["state"] == "cancelled"
    assert program.send("POST", f"runs/{run['id']}/resume/").status_code == 400


def test_lists_of_runs_and_models_do_not_ask_once_a_row(ada: Membership, django_assert_max_num_queries: Any) -> None:
    program = Program(ada, "read")
    for _ in range(3):
        RunFactory(project=ada.project)
        ModelFactory(project=ada.project)
    for path in ("runs/", "models/", "snapshots/"):
        with django_assert_max_num_queries(8):
            assert program.get(path).status_code == 200
    assert len(program.get("runs/").json()["results"]) == 3


def test_a_snapshot_is_previewed_exported_compared_and_its_leaks_decided(alice: Membership, rita: Membership) -> None:
    label_both_kinds(alice)
    program = Program(rita, "read", "export")
    seen = program.send("POST", "snapshots/preview/", kind="demonstrations", query={"leaks": "leave_out"}).json()
    assert (seen["total"], seen["query"]["leaks"], seen["query"]["overlap"]) == (1, "leave_out", "all")
    one = program.send("POST", "snapshots/", kind="demonstrations").json()
    assert (one["leaks"]["state"], one["facts"]["rows"], one["erased_at"]) == ("clean", 1, None)
    statement = next(row for row in program.get(f"snapshots/{one['id']}/formats/").json() if row["format"] == "openai")
    assert "labeler" in statement["does_not_carry"] and statement["tables"]

    job = program.send("POST", f"snapshots/{one['id']}/exports/", format="openai", container="csv")
    assert (job.status_code, job.json()["state"], job.json()["url"]) == (202, "queued", None)
    claimed = job_claim()
    assert claimed is not None
    carry_out(claimed)
    found = program.get(f"jobs/{job.json()['id']}/").json()
    assert found["state"] == "succeeded" and found["url"].endswith("-openai-csv.zip")
    assert [row["id"] for row in program.get(f"snapshots/{one['id']}/exports/").json()["results"]] == [found["id"]]
    refused = program.send("POST", f"snapshots/{one['id']}/exports/", format="argilla", container="csv")
    assert refused.status_code == 400 and "no one shape" in refused.json()["detail"]
    assert program.send("DELETE", f"jobs/{found['id']}/").json()["state"] == "cancelled"

    other = program.send("POST", "snapshots/", kind="demonstrations", query={"splits": ["train"]}).json()
    difference = program.get(f"snapshots/{other['id']}/difference/", before=one["id"]).json()
    assert (difference["same"], difference["added"]) == (1, 0)
    assert program.get(f"snapshots/{one['id']}/leaks/").json()["results"] == []
    nothing = program.send("POST", f"snapshots/{one['id']}/leaks/", decision="leave_out")
    assert nothing.status_code == 400 and "no leak" in nothing.json()["detail"]
    assert program.get("snapshots/", kind="rankings").json()["results"] == []
    assert len(program.get("snapshots/", kind="demonstrations").json()["results"]) == 2
    assert program.get("snapshots/", kind="dreams").status_code == 400
