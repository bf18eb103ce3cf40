"""The API of forms, guidelines and what people say to each other. Who may: test_every_address."""

from __future__ import annotations

import pytest

from annotation.models import Membership, Ranking
from annotation.services.guidelines import guideline_publish
from tests.annotation.test_api import Program, submission
from tests.factories import PromptFactory, RankingTaskFactory, TaskFactory

pytestmark = pytest.mark.django_db


def test_a_program_publishes_a_form_and_labels_under_what_it_was_shown(ada: Membership) -> None:
    RankingTaskFactory(prompt=PromptFactory(project=ada.project), answers=2)
    program = Program(ada, "read", "label", "forms", "export")
    (first,) = program.get("forms/").json()["versions"]
    question = {"key": "ambiguous"}
    fields = first["fields"] | {"allow_partial": True, "prompt_fields": [question]}
    for wrong in (
        {"fields": fields | {"flags": ["cute"]}, "based_on": 1},
        {"fields": [], "based_on": 1},
        {"based_on": 1},
    ):
        assert program.send("POST", "forms/", **wrong).status_code == 400, wrong
    made = program.send("POST", "forms/", fields=fields, based_on=1)
    assert (made.status_code, made.json()["version"]) == (201, 2)
    stale = program.send("POST", "forms/", fields=fields, based_on=1)
    assert stale.status_code == 400 and "Version 2" in stale.json()["detail"]
    task = program.send("POST", "tasks/next/").json()
    assert task["form"]["version"] == 2 and task["form"]["fields"]["allow_partial"] is True
    items = [{"response_id": row["id"], "rank": rank, "rating": 4} for rank, row in enumerate(task["responses"], 1)]
    path = f"assignments/{task['id']}/submit/"
    body = submission(items=items, form_version=2)
    assert "yes or no" in program.send("POST", path, **body, prompt_fields={"ambiguous": 3}).json()["detail"]
    assert program.send("POST", path, **body, prompt_fields={"ambiguous": True}).status_code == 201
    row = program.get("rankings/").json()["results"][0]
    assert (row["form_version"], row["prompt_fields"]["ambiguous"]) == (2, True)
    assert Ranking.objects.get().prompt_fields == {"ambiguous": True}


def test_a_program_is_told_to_acknowledge_before_the_next_task(alice: Membership, rex: Membership) -> None:
    TaskFactory(prompt=PromptFactory(project=rex.project))
    program = Program(rex, "label", "read")
    guideline_publish(project=rex.project, body="New rules.", by=alice)
    refused = program.send("POST", "tasks/next/")
    assert refused.status_code == 409 and refused.json()["acknowledge"] == 2 and "version 2" in refused.json()["detail"]
    assert program.get("guidelines/").json() == {"version": 2, "body": "New rules.", "acknowledge": 2}
    assert program.send("POST", "guidelines/acknowledge/", version=1).status_code == 400
    assert program.send("POST", "guidelines/acknowledge/", version=2).json()["acknowledge"] is None
    assert program.send("POST", "tasks/next/").status_code == 200


def test_a_question_and_its_answer(rex: Membership, ada: Membership) -> None:
    TaskFactory(prompt=PromptFactory(project=rex.project))
    asking, leading = Program(rex, "label"), Program(ada, "read", "review")
    task = asking.send("POST", "tasks/next/").json()
    path = f"assignments/{task['id']}/"
    assert asking.send("POST", path + "question/", body="").status_code == 400
    assert asking.send("POST", path + "question/", body="Which tide?").status_code == 201
    (row,) = leading.get("questions/", state="open").json()["results"]
    assert (row["labeler"], row["messages"][0]["body"]) == (rex.pseudonym, "Which tide?") and "rex" not in str(row)
    assert leading.send("POST", f"questions/{row['id']}/answer/", body="Spring.").status_code == 201
    assert leading.get("questions/", state="open").json()["results"] == []
    thread = asking.get(path + "feedback/").json()["question"]
    assert [(said["by"], said["body"]) for said in thread["messages"]] == [
        ("labeler", "Which tide?"),
        ("lead", "Spring."),
    ]
    assert leading.send("POST", f"questions/{row['id']}/resolve/").json()["state"] == "resolved"


def test_a_label_is_returned_and_closed_by_its_edit(rex: Membership, ada: Membership) -> None:
    TaskFactory(prompt=PromptFactory(project=rex.project))
    labeling, leading = Program(rex, "label"), Program(ada, "read", "review", "export")
    task = labeling.send("POST", "tasks/next/").json()
    path = f"assignments/{task['id']}/"
    label = labeling.send("POST", path + "submit/", **submission(text="One.")).json()
    comments = f"labels/{label['id']}/comments/"
    assert leading.send("POST", comments, body="More.", returns=True).status_code == 201
    assert leading.send("POST", comments, body="More.", returns=True).status_code == 400
    assert labeling.get(path + "feedback/").json()["returned"] is True
    assert leading.get("demonstrations/").json()["results"] == []
    assert len(leading.get("demonstrations/", returned="true").json()["results"]) == 1
    labeling.send("POST", path + "submit/", **submission(text="One, and more."))
    assert labeling.get(path + "feedback/").json()["returned"] is False
    assert leading.get(comments).json()[0]["closed_at"]
    assert len(leading.get("demonstrations/").json()["results"]) == 1
