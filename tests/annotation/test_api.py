"""The API of people's work: what a program sees, and that it is what the services do. Who may: test_every_address."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from annotation.models import Assignment, Demonstration, ImportBatch, Membership, Prompt, Ranking
from annotation.services.guidelines import guideline_publish
from annotation.services.imports import import_work_here
from annotation.services.tokens import token_create
from annotation.throttling import AccountThrottle
from tests.factories import MembershipFactory, PromptFactory, RankingTaskFactory, TaskFactory

pytestmark = pytest.mark.django_db
BASE = "/api/v1/projects/answers/"


class Program:
    """A program with a token."""

    def __init__(self, membership: Membership, *scopes: str) -> None:
        _token, secret = token_create(
            membership=membership, name="program", scopes=list(scopes), days=1, by=membership.user
        )
        self.client = Client(headers={"authorization": f"Bearer {secret}"})

    def get(self, path: str, **query: Any) -> Any:
        return self.client.get(path if path.startswith("http") else BASE + path, query or None)

    def send(self, method: str, path: str, **body: Any) -> Any:
        return self.client.generic(method, BASE + path, json.dumps(body), content_type="application/json")


def submission(**content: Any) -> dict[str, Any]:
    return {
        "submission_id": str(uuid.uuid4()),
        "started_at": timezone.now().isoformat(),
        "active_seconds": 12.5,
        **content,
    }


def test_a_program_takes_a_task_saves_a_draft_and_submits_once(alice: Membership, ada: Membership) -> None:
    TaskFactory(prompt=PromptFactory(project=alice.project, text="Say hello."))
    program = Program(ada, "label")
    task = program.send("POST", "tasks/next/").json()
    assert (task["kind"], task["prompt"][0]["content"]) == ("demonstration", "Say hello.")
    path = f"assignments/{task['id']}/"
    assert program.send("PUT", path + "draft/", draft={"text": "Hel"}).status_code == 200
    assert program.get(path).json()["draft"] == {"text": "Hel"}
    body = submission(text="Hello.")
    first, again = (program.send("POST", path + "submit/", **body) for _ in range(2))
    assert first.status_code == 201 and first.json() == again.json()
    assert first.json()["counts"] is True
    assert Demonstration.objects.get().response.text == "Hello."
    assert program.send("POST", "tasks/next/").status_code == 204


def test_a_submit_that_asks_for_it_answers_with_the_next_task(ada: Membership) -> None:
    for text in ("One?", "Two?"):
        TaskFactory(prompt=PromptFactory(project=ada.project, text=text))
    program = Program(ada, "label")
    task = program.send("POST", "tasks/next/").json()
    path = f"assignments/{task['id']}/submit/"
    body = submission(text="One.")
    second = program.send("POST", f"{path}?next=true", **body).json()["next"]
    assert (second["id"] != task["id"], second["prompt"][0]["content"]) == (True, "Two?")
    assert program.send("POST", f"{path}?next=true", **body).json()["next"]["id"] == second["id"]  # sent again
    assert program.send("POST", path, **body).json()["next"] is None  # not asked for
    guideline_publish(project=ada.project, body="Be brief.", by=MembershipFactory(project=ada.project))
    last = program.send("POST", f"assignments/{second['id']}/submit/?next=true", **submission(text="Two."))
    assert (last.status_code, last.json()["next"]) == (201, None)  # the label is kept
    assert program.send("POST", "tasks/next/").status_code == 409  # which says why
    assert Demonstration.objects.count() == 2


def test_a_ranking_shows_answers_in_the_stored_order_without_their_authors(ada: Membership) -> None:
    RankingTaskFactory(prompt=PromptFactory(project=ada.project))
    program = Program(ada, "label", "export")
    task = program.send("POST", "tasks/next/").json()
    order = Assignment.objects.get(pk=task["id"]).presented_order
    assert [response["id"] for response in task["responses"]] == order
    assert all(set(response) == {"id", "text"} for response in task["responses"])
    items = [
        {"response_id": key, "rank": rank, "rating": 4, "flags": ["hallucination"]}
        for rank, key in enumerate(order, start=1)
    ]
    path = f"assignments/{task['id']}/submit/"
    assert program.send("POST", path, **submission(items=items)).status_code == 201
    row = program.get("rankings/").json()["results"][0]
    ranks = {completion["id"]: rank for completion, rank in zip(row["completions"], row["ranks"], strict=True)}
    assert [ranks[key] for key in order] == list(range(1, len(order) + 1))
    assert row["presented_order"] == order
    assert row["labeler"] == ada.pseudonym and "ada" not in json.dumps(row)


def test_a_refused_label_says_why_and_changes_nothing(ada: Membership) -> None:
    RankingTaskFactory(prompt=PromptFactory(project=ada.project))
    program = Program(ada, "label")
    path = f"assignments/{program.send('POST', 'tasks/next/').json()['id']}/"
    answer = program.send("POST", path + "submit/", **submission(items=[]))
    assert answer.status_code == 400 and answer.json()["detail"]
    assert program.send("POST", path + "skip/", reason="because").status_code == 400
    assert Ranking.objects.count() == 0
    assert Assignment.objects.get().status == "leased"


def test_lists_come_in_pages_by_key_and_by_filter(ada: Membership) -> None:
    made = [str(PromptFactory(project=ada.project, pool="sft").pk) for _ in range(5)]
    PromptFactory(project=ada.project, pool="rm")
    program = Program(ada, "read")
    seen, page = [], program.get("prompts/", pool="sft", limit=2).json()
    while True:
        seen += [row["id"] for row in page["results"]]
        if not page["next"]:
            break
        page = program.get(page["next"]).json()
    assert seen == made
    assert program.get("prompts/", pool="no such pool").status_code == 400


def test_adding_prompts_reports_each(ada: Membership) -> None:
    program = Program(ada, "write_prompts")
    prompts = ["What is dew?", [{"role": "user", "content": "What is dew?"}], [{"role": "assistant", "content": "no"}]]
    report = program.send("POST", "prompts/", pool="sft", prompts=prompts).json()
    assert (report["added"], report["known"]) == (1, 1)
    assert [row["line"] for row in report["rejected"]] == [3]
    assert Prompt.objects.get().text == "What is dew?"


def test_an_import_is_sent_looked_at_started_followed_and_undone(ada: Membership) -> None:
    program = Program(ada, "read", "write_prompts")
    lines = b'{"question": "What is fog?"}\n{"question": "What is dew?"}\n{"question": 3}\n'

    def send(**extra: Any) -> Any:
        file = SimpleUploadedFile("prompts.jsonl", lines)
        body = {"kind": "prompts", "file": file, "pool": "sft", "source": "a test", **extra}
        return program.client.post(BASE + "imports/", body)

    def finish(sent: Any) -> Any:
        import_work_here(batch=ImportBatch.objects.get(pk=sent["id"]))
        return program.get(f"imports/{sent['id']}/").json()

    sent = send(start="false")
    assert sent.status_code == 202 and sent["Location"] == BASE + f"imports/{sent.json()['id']}/"
    one = f"imports/{sent.json()['id']}/"
    preview = program.get(one + "preview/").json()
    assert (preview["columns"], preview["suggested_mapping"], preview["good"]) == (
        ["question"],
        {"prompt": "question"},
        0,
    )
    assert program.send("PATCH", one, mapping={"prompt": "nothing", "poem": "x"}).status_code == 400
    assert program.send("PATCH", one, mapping={"prompt": "question"}).json()["format"] == "mapping"
    preview = program.get(one + "preview/").json()
    assert preview["rows"][0]["prompt"] == [{"role": "user", "content": "What is fog?"}]
    assert program.send("POST", one + "start/").json()["state"] == "queued"
    refused = finish(sent.json())
    assert (refused["state"], refused["rejected_count"], Prompt.objects.count()) == ("refused", 1, 0)
    bad = program.get(one + "bad-lines/").json()["results"]
    assert [line["line"] for line in bad] == [3] and "not text" in bad[0]["problem"]
    good = finish(program.send("POST", one + "good-lines/").json())
    assert (good["state"], good["added"], Prompt.objects.count()) == ("succeeded", 2, 2)
    assert program.send("POST", one + "cancel/").status_code == 400
    again = finish(send(mapping='{"prompt": "question"}', accept_bad_lines="true").json())
    assert (again["added"], again["known"]) == (0, 2)
    assert program.send("POST", f"imports/{good['id']}/undo/").json()["undone_at"] is not None
    assert send(format="no such").status_code == 400 and send(mapping="[]").status_code == 400


def test_the_description_is_valid_and_names_every_address(ada: Membership) -> None:
    client = Client()
    client.force_login(ada.user)
    schema = client.get("/api/v1/schema/", headers={"accept": "application/vnd.oai.openapi+json"}).json()
    assert schema["openapi"].startswith("3.")
    assert "/api/v1/projects/{slug}/assignments/{id}/submit/" in schema["paths"]
    answers = schema["paths"]["/api/v1/projects/{slug}/tasks/next/"]["post"]["responses"]
    assert {"200", "204", "401", "404"} <= set(answers)


def test_a_lead_takes_back_what_was_asked_to_be_written(ada: Membership) -> None:
    program = Program(ada, "queue", "read")
    asked = program.send("POST", "prompt-writing/", style="plain", number=3, pool="sft")
    assert asked.json() == {"tasks": 3}
    [brief] = program.get("prompt-writing/").json()["results"]
    for withdrawn in (3, 0):
        answer = program.send("POST", f"prompt-writing/{brief['id']}/withdraw/")
        assert (answer.status_code, answer.json()) == (200, {"withdrawn": withdrawn})
    assert program.send("POST", f"prompt-writing/{uuid.uuid4()}/withdraw/").status_code == 404


def test_an_account_that_asks_too_often_is_held_up_and_no_other(
    alice: Membership, ada: Membership, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AccountThrottle, "rate", "2/min", raising=False)
    often, seldom = Program(ada, "label"), Program(alice, "label")
    assert [often.send("POST", "tasks/next/").status_code for _ in range(3)] == [204, 204, 429]
    assert "Retry-After" in often.send("POST", "tasks/next/")
    assert seldom.send("POST", "tasks/next/").status_code == 204


def test_the_api_works_while_redis_is_away(ada: Membership, settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    TaskFactory(prompt=PromptFactory(project=ada.project))
    settings.CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "unix:///nowhere/broker.sock"}
    }
    assert Program(ada, "label").send("POST", "tasks/next/").status_code == 200
    assert "the cache is away: API requests are not counted" in caplog.text
