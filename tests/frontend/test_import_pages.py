"""Importing in the browser: sent, shown as it will be, started, followed, and a report of what became of its lines."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from annotation.models import Demonstration, ImportBatch, Prompt, Ranking, User
from annotation.services.imports import import_work_here
from annotation.staging import staged_path
from frontend.views.imports import as_cell
from tests.frontend.scene import Scene

As = Callable[[User], Client]


def page(scene: Scene, name: str, *args: object) -> str:
    return reverse(f"frontend:{name}", args=[scene.project.slug, *args])


def jsonl(*rows: object) -> SimpleUploadedFile:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    return SimpleUploadedFile("rows.jsonl", "\n".join(lines).encode())


def send(client: Client, scene: Scene, file: SimpleUploadedFile, **changes: object) -> ImportBatch:
    form = {"file": file, "kind": "prompts", "pool": "sft", "source": "a test", **changes}
    response = client.post(page(scene, "prompts_import"), form)
    assert response.status_code == 302, response.content.decode()
    return ImportBatch.objects.order_by("id").last()  # type: ignore[return-value]


def start(client: Client, scene: Scene, batch: ImportBatch, **reading: object) -> ImportBatch:
    """Press Import it, and have the import carried out as a worker would."""
    response = client.post(page(scene, "import_start", batch.pk), {"do": "start", **reading})
    assert response.status_code == 302, response.context["form"].errors
    return import_work_here(batch=ImportBatch.objects.get(pk=batch.pk))


def text_of(client: Client, scene: Scene, batch: ImportBatch, query: str = "") -> str:
    return client.get(page(scene, "import_report", batch.pk) + query).content.decode()


def test_nothing_comes_in_before_its_first_rows_were_shown(
    scene: Scene, as_: As, django_capture_on_commit_callbacks: Callable
) -> None:
    client, before = as_(scene.ada), Prompt.objects.count()
    batch = send(client, scene, jsonl({"prompt": "Why is the moon round?"}, {"prompt": "Q2"}), licence="CC0")
    text = text_of(client, scene, batch)
    assert "Why is the moon round?" in text and "Import it" in text
    assert Prompt.objects.count() == before
    with django_capture_on_commit_callbacks(execute=True):
        batch = start(client, scene, batch)
    assert (batch.state, batch.added, batch.rejected_count, batch.licence) == ("succeeded", 2, 0, "CC0")
    text = text_of(client, scene, batch)
    assert "Every line was good." in text and batch.sha256 in text
    assert not staged_path(batch.sha256).exists()


def test_the_page_of_a_waiting_import_asks_on_and_that_of_a_done_one_does_not(scene: Scene, as_: As) -> None:
    client = as_(scene.ada)
    batch = send(client, scene, jsonl({"prompt": "Q1"}))
    client.post(page(scene, "import_start", batch.pk), {"do": "start"})
    live = page(scene, "import_live", batch.pk)
    response = client.get(live, headers={"hx-request": "true"})
    assert 'hx-trigger="every 1s"' in response.content.decode() and "Cancel the import" in response.content.decode()
    assert client.get(live, headers={"if-none-match": response["ETag"]}).status_code == 304
    import_work_here(batch=ImportBatch.objects.get(pk=batch.pk))
    response = client.get(live, headers={"hx-request": "true"})
    assert "hx-trigger" not in response.content.decode() and response["HX-Refresh"] == "true"


def test_a_packed_list_in_another_format_is_recognised_and_another_can_be_chosen(scene: Scene, as_: As) -> None:
    client = as_(scene.ada)
    rows = [{"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Air."}], "id": 3}]
    file = SimpleUploadedFile("talk.json.gz", gzip.compress(json.dumps(rows).encode()))
    batch = send(client, scene, file, kind="demonstrations")
    assert "ShareGPT" in text_of(client, scene, batch)
    client.post(page(scene, "import_start", batch.pk), {"do": "look", "format": "alpaca"})
    assert "there is no answer; name it output" in text_of(client, scene, batch)
    start(client, scene, batch)
    demonstration = Demonstration.objects.select_related("task__prompt", "response").get(batch=batch)
    assert (demonstration.response.text, demonstration.task.prompt.text) == ("Air.", "Why?")


def test_columns_of_unknown_names_are_guessed_changed_and_kept_for_the_next_file(scene: Scene, as_: As) -> None:
    client = as_(scene.ada)
    csv = b"frage;antwort_1;antwort_2;besser\nWarum?;Darum.;Luft.;2\nWo?;Da.;Dort.;0\n"
    batch = send(client, scene, SimpleUploadedFile("stimmen.csv", csv), kind="rankings")
    text = text_of(client, scene, batch)
    assert "None of the first rows could be read so" in text and "antwort_1" in text
    reading = {
        "format": "mapping",
        "map_prompt": "frage",
        "map_answers": ["antwort_1", "antwort_2"],
        "map_choice": "besser",
        "map_choice_counts_from": "1",
    }
    client.post(page(scene, "import_start", batch.pk), {"do": "look", **reading})
    assert "Darum." in text_of(client, scene, batch)
    batch = start(client, scene, batch, **reading)
    assert (batch.added, batch.mapping["prompt"]) == (2, "frage")
    first = Ranking.objects.get(batch=batch, prompt__messages__icontains="Warum")
    assert {row.response.text: row.rank for row in first.ranked_responses.all()} == {"Darum.": 2, "Luft.": 1}
    again = send(client, scene, SimpleUploadedFile("mehr.csv", csv + b"Wann?;Nie.;Bald.;1\n"), kind="rankings")
    assert "was taken over" in text_of(client, scene, again)
    assert start(client, scene, again, **reading).added == 1


def test_a_mapping_that_says_too_little_is_refused_in_words(scene: Scene, as_: As) -> None:
    client = as_(scene.ada)
    batch = send(client, scene, SimpleUploadedFile("x.csv", b"a,b\n1,2\n"), kind="demonstrations")
    response = client.post(
        page(scene, "import_start", batch.pk), {"do": "start", "format": "mapping", "map_prompt": "a"}
    )
    assert response.status_code == 422 and "which column is the answer" in response.content.decode()
    batch.refresh_from_db()
    assert batch.state == "staged"


def test_a_broken_line_refuses_the_file_and_the_good_ones_can_come_alone(scene: Scene, as_: As) -> None:
    client, before = as_(scene.ada), Prompt.objects.count()
    batch = send(client, scene, jsonl({"prompt": "Q1"}, "{broken", {"prompt": ""}))
    batch = start(client, scene, batch)
    text = text_of(client, scene, batch)
    assert (batch.state, batch.rejected_count, Prompt.objects.count()) == ("refused", 2, before)
    assert "the line is not JSON" in text and "Import the good lines alone" in text
    client.post(page(scene, "import_good", batch.pk))
    again = import_work_here(batch=ImportBatch.objects.exclude(pk=batch.pk).get())
    assert (again.state, again.added, again.rejected_count) == ("succeeded", 1, 2)
    for ending, first in (("csv", '2,"'), ("jsonl", '{"line": 2')):
        response = client.get(page(scene, "import_report_file", again.pk, ending))
        assert "attachment" in response["Content-Disposition"]
        lines = b"".join(response.streaming_content).decode().splitlines()  # type: ignore[attr-defined]
        assert lines[1 if ending == "csv" else 0].startswith(first) or lines[1].startswith("2,")
    assert client.get(page(scene, "import_report_file", again.pk, "exe")).status_code == 404


def test_many_bad_lines_come_in_pages(scene: Scene, as_: As) -> None:
    client = as_(scene.ada)
    batch = start(client, scene, send(client, scene, jsonl(*["{"] * 150)))
    first = client.get(page(scene, "import_report", batch.pk))
    second = client.get(page(scene, "import_report", batch.pk) + f"?after={first.context['next']}")
    lines = [bad.line for response in (first, second) for bad in response.context["rejected"]]
    assert lines == list(range(1, 151)) and second.context["next"] == ""


def test_a_cell_that_looks_like_a_formula_is_disarmed() -> None:
    assert [as_cell(mark + "1") for mark in "=+-@\t\r"] == ["'" + mark + "1" for mark in "=+-@\t\r"]
    assert as_cell("plain") == "plain" and as_cell("") == ""


def test_a_file_that_is_no_text_gets_a_sentence(scene: Scene, as_: As) -> None:
    client = as_(scene.ada)
    batch = send(client, scene, SimpleUploadedFile("rows.jsonl", b"\xff\xfe\x00\x01"))
    assert "UTF-16" in text_of(client, scene, batch)
    batch = start(client, scene, batch)
    assert batch.state == "failed" and "UTF-16" in text_of(client, scene, batch)


def test_an_import_is_cancelled_before_it_starts_and_undone_after(scene: Scene, as_: As) -> None:
    client = as_(scene.ada)
    batch = send(client, scene, jsonl({"prompt": "Q0"}))
    client.post(page(scene, "import_cancel", batch.pk))
    batch.refresh_from_db()
    assert batch.state == "cancelled"
    done = start(client, scene, send(client, scene, jsonl({"prompt": "Q1"})))
    for who in (scene.rita, scene.rob, scene.sam):
        assert as_(who).post(page(scene, "import_undo", done.pk)).status_code == 404
    as_(scene.ada).post(page(scene, "import_undo", done.pk))
    done.refresh_from_db()
    assert done.undone_at is not None
    offered = Prompt.objects.filter(project=scene.project, withdrawn_at__isnull=True)
    assert "Q1" not in {prompt.text for prompt in offered}


def test_answers_without_a_ranking_become_work_for_labelers(scene: Scene, as_: As) -> None:
    client = as_(scene.ada)
    rows = [{"prompt": "Which?", "completions": [{"content": "A", "model": "m1"}, {"content": "B", "model": "m2"}]}]
    batch = start(client, scene, send(client, scene, jsonl(*rows), kind="answers", pool="rm"))
    task = batch.tasks.get()
    assert (task.state, task.kind, task.open_slots) == ("open", "ranking", task.overlap)
    assert set(task.responses.values_list("text", "imported_author", "origin")) == {
        ("A", "m1", "imported"),
        ("B", "m2", "imported"),
    }
