"""Prompt writing: the lead's page, the labeler's page for each style, and the API."""

from __future__ import annotations

import pytest

from annotation.models import Assignment, Prompt, PromptBrief, Task, WrittenPrompt
from annotation.services.prompt_writing import prompt_tasks_create
from tests.frontend.scene import Scene, make_scene

FEW_SHOT = {
    "instruction": "Translate into French.",
    **{"query-0": "cat", "answer-0": "chat", "query-1": "dog", "answer-1": "chien"},
    **{"query": "bird", "category": "other", "language": "en"},
}


@pytest.fixture
def scene(db: None) -> Scene:
    return make_scene(demonstrations=0, rankings=0)


def ask(scene: Scene, style: str, **more) -> None:
    prompt_tasks_create(
        **{"project": scene.project, "style": style, "number": 2, "pool": "sft", "by": scene.rita} | more
    )


def start(client, scene: Scene) -> str:
    client.post(f"/p/{scene.project.slug}/label/", {"kind": "prompt"})
    return f"/p/{scene.project.slug}/label/{Assignment.objects.get(status='leased').pk}/"


def test_a_lead_asks_and_reads_how_far_it_is(as_, scene):
    page = f"/p/{scene.project.slug}/queue/prompt-writing/"
    form = {"style": "user_based", "number": 2, "pool": "rm", "use_case": "", "language": "", "follow_up": ""}
    refused = as_(scene.rita).post(page, form)
    assert refused.status_code == 422 and "Write the use case" in refused.content.decode()
    refused = as_(scene.rita).post(page, form | {"use_case": "Mail", "language": "no language"})
    assert refused.status_code == 422 and "write a code such as en" in refused.content.decode()
    assert not Task.objects.exists()
    assert as_(scene.rita).post(page, form | {"use_case": "Answering guests' mail"}).status_code == 302
    shown = as_(scene.rita).get(page).content.decode()
    assert "2 prompts are asked for." in shown and "Answering guests&#x27; mail" in shown
    assert "Prompt writing" in as_(scene.rita).get(f"/p/{scene.project.slug}/queue/").content.decode()


def test_a_lead_asks_for_no_more(as_, scene):
    ask(scene, "plain")
    client = as_(scene.rita)
    page = f"/p/{scene.project.slug}/queue/prompt-writing/"
    assert "Withdraw the rest" in client.get(page).content.decode()
    client.post(f"{page}{PromptBrief.objects.get().pk}/withdraw/")
    shown = client.get(page).content.decode()
    assert "2 tasks have been withdrawn." in shown and "Withdraw the rest" not in shown


def test_a_few_shot_prompt_is_drafted_written_and_edited(as_, scene):
    ask(scene, "few_shot")
    client = as_(scene.alice)
    url = start(client, scene)
    client.post(f"{url}draft/", FEW_SHOT | {"rank-0": "1", "query-99": "x"})
    draft = Assignment.objects.get().draft
    assert draft["answer-1"] == "chien" and "rank-0" not in draft and "query-99" not in draft
    assert "chien" in client.get(url).content.decode()
    refused = client.post(url, FEW_SHOT | {"answer-1": ""})
    assert refused.status_code == 422 and "the answer of example 2 is empty" in refused.content.decode()
    assert "Translate into French." in refused.content.decode()
    assert client.post(url, FEW_SHOT).status_code == 302
    assert Prompt.objects.get().messages[0]["content"] == "Translate into French.\n\ncat"
    again = client.get(url).content.decode()
    assert "chien" in again and "Save as a new revision" in again
    client.post(url, FEW_SHOT | {"query": "fish", "editing": "yes"})
    assert WrittenPrompt.objects.get(is_current=True).prompt.text == "fish"
    assert "fish" in client.get(f"/p/{scene.project.slug}/history/").content.decode()


def test_a_use_case_is_shown_as_text_and_does_nothing(as_, scene):
    ask(scene, "user_based", use_case="A *tour guide* <script>alert(1)</script>", language="de")
    client = as_(scene.alice)
    page = client.get(start(client, scene)).content.decode()
    assert "<em>tour guide</em>" in page and "<script>alert" not in page and 'value="de"' in page


def test_a_prompt_that_is_here_already_is_said_in_words(as_, scene):
    ask(scene, "plain")
    client = as_(scene.alice)
    form = {"text": "Why?", "category": "open_qa", "language": "en"}
    client.post(start(client, scene), form)
    refused = client.post(start(client, scene), form, headers={"Accept": "application/json"})
    assert refused.status_code == 422 and "has this very prompt already" in refused.json()["problem"]


def test_a_labeler_is_told_when_it_can_no_longer_be_changed(as_, scene):
    ask(scene, "plain", follow_up="demonstration")
    client = as_(scene.alice)
    url = start(client, scene)
    assert "can't be changed after that" in client.get(url).content.decode().replace("&#x27;", "'")
    client.post(url, {"text": "Why?", "category": "open_qa", "language": "en"})
    assert Task.objects.filter(kind="demonstration").count() == 1
    page = client.get(url).content.decode().replace("&#x27;", "'")
    assert "can't be changed any more" in page


def test_a_program_asks_takes_and_submits(as_, scene):
    url, json = f"/api/v1/projects/{scene.project.slug}", {"content_type": "application/json"}
    asked = {"style": "few_shot", "number": 1, "pool": "sft"}
    assert as_(scene.rita).post(f"{url}/prompt-writing/", asked, **json).json() == {"tasks": 1}
    wrong = as_(scene.rita).post(f"{url}/prompt-writing/", asked | {"style": "user_based"}, **json)
    assert wrong.status_code == 400
    client = as_(scene.alice)
    task = client.post(f"{url}/tasks/next/").json()
    assert (task["kind"], task["prompt"], task["responses"]) == ("prompt", None, [])
    assert task["brief"] == {"style": "few_shot", "use_case": "", "language": ""}
    label = {"submission_id": task["id"], "started_at": "2026-01-01T00:00:00Z", "active_seconds": 1}
    parts = {"instruction": "Translate.", "query": "bird", "pairs": [{"query": "cat", "answer": "chat"}]}
    refused = client.post(f"{url}/assignments/{task['id']}/submit/", label | parts, **json)
    assert refused.status_code == 400 and "there are 1 examples" in str(refused.json())
    parts["pairs"] += [{"query": "dog", "answer": "chien"}]
    filing = {"category": "other", "language": "fr"}
    assert client.post(f"{url}/assignments/{task['id']}/submit/", label | parts | filing, **json).status_code == 201
    (brief,) = as_(scene.rita).get(f"{url}/prompt-writing/").json()["results"]
    assert (brief["wanted"], brief["written"]) == (1, 1)
    (prompt,) = as_(scene.rita).get(f"{url}/prompts/").json()["results"]
    assert (prompt["language"], prompt["source"], prompt["style"]) == ("fr", "labeler", "few_shot")


def test_the_list_of_briefs_takes_as_many_queries_as_there_are(as_, scene, django_assert_max_num_queries):
    page, client, counts = f"/p/{scene.project.slug}/queue/prompt-writing/", as_(scene.rita), []
    for _round in range(3):
        ask(scene, "plain")
        with django_assert_max_num_queries(12) as captured:
            client.get(page)
        counts.append(len(captured))
    assert len(set(counts)) == 1
