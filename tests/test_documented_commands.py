"""The commands of docs/data.md, as they stand there, against a real server."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from annotation.models import ImportBatch, Membership, Project, Ranking
from annotation.services.imports import import_work_here
from annotation.services.tokens import token_create
from tests.conftest import ROOT
from tests.factories import PromptFactory
from tests.training.labels import demonstrate
from training.jobs import carry_out
from training.services.jobs import job_claim
from training.services.snapshots import snapshot_build

pytestmark = [
    pytest.mark.django_db(transaction=True),
    *(
        pytest.mark.skipif(not shutil.which(name), reason=f"no {name} here: install the package {name}")
        for name in ("bash", "curl", "unzip")
    ),
]

Say = Callable[..., Any]
STRICT = 'set -e -o pipefail; curl() { command curl -sS --fail-with-body "$@"; }; '


def documented() -> list[str]:
    """Its commands, each in one line."""
    text = (ROOT / "docs" / "data.md").read_text(encoding="utf-8").replace("\\\n", " ")
    return [line.strip() for line in text.splitlines() if re.match(r"    (curl|unzip|python3 -c) ", line)]


@pytest.fixture
def say(project: Project, ada: Membership, live_server: Any, tmp_path: Path) -> Say:
    """`say(part, NAME=value)`: run the one command that has this part, and return what it answered."""
    _token, secret = token_create(
        membership=ada, name="docs", scopes=["read", "write_prompts", "export"], days=1, by=ada.user
    )
    server, name = live_server.url, f"/api/v1/projects/{project.slug}"
    known = {"TOKEN": secret, "A": f"Authorization: Bearer {secret}", "P": server + name}

    def run(part: str, **values: object) -> Any:
        [command] = [command for command in documented() if part in command]
        command = command.replace("https://plackett.example", server).replace("/api/v1/projects/fernhill", name)
        command = command.replace("python3 ", f"{sys.executable} ")
        variables = known | {key: str(value) for key, value in values.items()}
        done = subprocess.run(
            ["bash", "-c", STRICT + command], cwd=tmp_path, env=os.environ | variables, capture_output=True, text=True
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        with suppress(ValueError):
            return json.loads(done.stdout)
        return done.stdout

    return run


def work() -> None:
    """As a worker does it."""
    job = job_claim()
    assert job is not None
    carry_out(job)


def test_rankings_go_in_and_a_dataset_comes_out(project: Project, say: Say, tmp_path: Path) -> None:
    talks = [(f"\n\nHuman: Question {number}?\n\nAssistant: ", number) for number in range(8)]
    rows = [{"chosen": f"{talk}Yes, {number}.", "rejected": f"{talk}No."} for talk, number in talks]
    (tmp_path / "train.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    sent = say("-F file=@train.jsonl.gz")
    import_work_here(batch=ImportBatch.objects.get(pk=sent["id"]))
    assert Ranking.objects.filter(project=project, is_current=True).count() == 8

    preview, snapshot = say("$P/snapshots/preview/"), say("$P/snapshots/ ")
    assert preview["counts"] == snapshot["counts"] and sum(snapshot["counts"].values()) == 8

    job = say("/exports/ -d", ID=snapshot["id"])
    work()
    done = say('until "state"', JOB=job["id"])
    assert done["state"] == "succeeded"
    say('rankings.zip "$URL"', URL=done["url"])
    say("unzip -q rankings.zip")
    assert "DatasetDict" in say("load_dataset")

    line = say("container=jsonl.gz", ID=snapshot["id"])
    assert line["input"]["messages"], "OpenAI's preference format"
    assert say("labels/stream", LAST="") == "", "each row is told when it is ten seconds old"
    assert say("-o openapi.yaml") == "" and "openapi: 3.0" in (tmp_path / "openapi.yaml").read_text()


def test_leaks_are_looked_at_and_left_out(project: Project, alice: Membership, ada: Membership, say: Say) -> None:
    for split, text in (
        ("train", "Why is the sky blue?"),
        ("train", "Name a river."),
        ("test", "WHY is the sky blue?"),
    ):
        prompt = PromptFactory(project=project, pool="sft", split=split, messages=[{"role": "user", "content": text}])
        demonstrate(prompt, alice, f"The answer to {text}")
    leaking = snapshot_build(project=project, kind="demonstrations", by=ada.user)
    [pair] = say('curl -H "$A" $P/snapshots/$ID/leaks/', ID=leaking.pk)["results"]
    assert (pair["train_prompt"], pair["held_out_prompt"]) == (
        "user: Why is the sky blue?",
        "user: WHY is the sky blue?",
    )
    without = say("leave_out", ID=leaking.pk)
    difference = say("/difference/", NEW=without["id"], OLD=leaking.pk)
    assert difference["gone"] == 1
