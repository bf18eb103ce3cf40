"""The client of the real-data trial against the product's own pages, as a browser without scripts would use them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest
from django.db import connection

from annotation.models import Project, User
from annotation.services.sign_in import sign_in_link_create
from annotation.tasks import import_work
from benchmarks.real_data.dashboard import Dashboard, DashboardError, form_with, multipart
from benchmarks.real_data.recipe import SHORT
from benchmarks.real_data.trial import Trial, problems

PAGE = """
<form><input type="hidden" name="csrfmiddlewaretoken" value="one"></form>
<form method="post"><input type="hidden" name="csrfmiddlewaretoken" value="two">
<input name="title" value="Tides &amp; winds"><input type="file" name="file">
<input type="checkbox" name="ticked" checked><input type="checkbox" name="open" value="yes">
<input type="radio" name="kind" value="a"><input type="radio" name="kind" value="b" checked>
<select name="pool"><option value="sft">SFT</option><option value="rm" selected>RM</option></select>
<select name="first"><option value="">everything</option><option value="7">7</option></select>
<textarea name="text">two
lines</textarea><button name="count">Count</button></form>
"""


def test_a_form_is_read_as_a_browser_would_send_it_untouched():
    form = form_with(PAGE, "title")
    assert form.values == {
        "csrfmiddlewaretoken": ["two"],
        "title": ["Tides & winds"],
        "ticked": ["on"],
        "kind": ["b"],
        "pool": ["rm"],
        "first": [""],
        "text": ["two\nlines"],
    }
    assert form.options["pool"] == ["sft", "rm"]
    with pytest.raises(DashboardError, match="no form with a field nothing"):
        form_with(PAGE, "nothing")


def test_a_form_with_a_file_is_what_the_standard_says():
    body, kind = multipart({"kind": ["a", "b"]}, {"file": ("rows.jsonl", b"{}\n")})
    boundary = kind.split("boundary=")[1].encode()
    parts = body.split(b"--" + boundary)
    assert len(parts) == 5 and parts[-1] == b"--\r\n"
    assert parts[2].endswith(b'name="kind"\r\n\r\nb\r\n')
    assert b'filename="rows.jsonl"' in parts[3] and parts[3].endswith(b"\r\n\r\n{}\n\r\n")


def test_bad_lines_are_summed_up_by_what_is_wrong():
    rejected = [{"line": line, "problem": "answer 1 must be a text"} for line in (3, 5)]
    assert problems(rejected) == [{"problem": "answer 1 must be a text", "count": 2, "first": [3, 5]}]


@pytest.fixture
def trial(live_server) -> Iterator[Trial]:
    owner = User.objects.create(username="owner", is_superuser=True)
    dashboard = Dashboard(live_server.url)
    dashboard.sign_in(f"/sign-in/{sign_in_link_create(user=owner)}/")
    yield Trial(dashboard, SHORT, seed=7, say=print)


def row(number: int, answer: object = "Longer.") -> dict:
    return {
        "prompt": f"Question {number}?",
        "completions": [{"content": answer, "model": "a"}, {"content": "Short.", "model": "b"}],
        "ranks": [1, 2],
        "labeler": "judge 1",
        "group": f"g{number}",
    }


@pytest.fixture
def worker(transactional_db: None) -> Iterator[None]:
    """What a worker of imports does, in a thread of this process."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.05):
            import_work()
        connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    yield
    over.set()
    thread.join()


@pytest.mark.usefixtures("worker")
@pytest.mark.django_db(transaction=True)
def test_a_file_goes_in_once_and_its_bad_lines_are_reported(trial: Trial) -> None:
    trial.make_project()
    project = Project.objects.get(slug=trial.project)
    assert (project.validation_percent, project.test_percent) == (15, 15)
    found = trial.import_file("rankings", "rm", "somewhere", [row(1), row(2, answer=True), row(3)])
    assert found["refused_whole"] and found["labels_after_refusal"] == 0
    assert (found["added"], found["rejected_count"]) == (2, 1)
    assert found["again"] == {"added": 0, "known": 2, "rejected_count": 1}
    [problem] = found["problems"]
    assert problem["first"] == [2]
    assert project.rankings.count() == 2


@pytest.mark.django_db(transaction=True)
def test_a_corpus_is_frozen_and_a_launch_that_lacks_data_is_refused_in_words(trial: Trial) -> None:
    trial.make_project()
    corpus = trial.add_corpus([f"Text number {number}." for number in range(40)])
    assert sum(corpus["documents"].values()) == 40
    assert all(json.dumps(line["text"]) for line in trial.rows_of(corpus["id"], "train"))
    with pytest.raises(DashboardError, match=r"answered 422: .* Policy to start from This field is required"):
        trial.launch("sft", SHORT.sft)
