"""The ranking form by its pages: changed by a lead, filled in by a labeler, with and without what it allows."""

from __future__ import annotations

import re
from typing import Any

from annotation.models import Assignment, FormVersion, Ranking
from annotation.selectors.forms import form_current
from annotation.services.forms import form_publish
from tests.frontend.scene import Scene
from tests.frontend.test_labeling import JSON, address, form_of, ranked, start


def publish(scene: Scene, **changes: Any) -> FormVersion:
    current = form_current(scene.project)
    fields = {**current.fields, **changes}
    return form_publish(project=scene.project, fields=fields, based_on=current.version, by=scene.ada)


def page(scene: Scene, tail: str) -> str:
    return f"/p/{scene.project.slug}/{tail}"


def sent(client: Any, scene: Scene) -> dict[str, Any]:
    """The editor's form as the browser would send it untouched."""
    html = client.get(page(scene, "form/edit/")).content.decode()
    data: dict[str, Any] = {}
    for name, value in re.findall(r'<input type="(?:hidden|number|text)" name="([^"]+)"(?: value="([^"]*)")?', html):
        data[name] = value
    for name, value in re.findall(r'type="checkbox" name="([^"]+)" value="([^"]*)"[^>]* checked', html):
        data.setdefault(name, []).append(value)
    data["allow_ties"] = "on"
    return {name: value for name, value in data.items() if name != "csrfmiddlewaretoken"}


CHANGE = {
    "minimum": "1",
    "maximum": "5",
    "flags": ["hallucination"],
    "prompt_fields": ["ambiguous"],
    "allow_partial": "on",
    "flag-0-key": "too_long",
    "flag-0-label": "Too long",
    "question-0-key": "audience",
    "question-0-label": "For whom?",
    "question-0-type": "choice",
    "question-0-choices": "child\nexpert",
    "question-0-required": "on",
}


def test_a_lead_looks_at_a_change_and_publishes_it(as_, scene):
    client = as_(scene.rita)
    data = sent(client, scene) | CHANGE
    shown = client.post(page(scene, "form/edit/"), data | {"action": "preview"}).content.decode()
    assert "Ratings go from 1 to 5" in shown and "“For whom?” is asked about the prompt now." in shown
    assert 'name="flag-2-key"' in shown  # fresh rows
    assert FormVersion.objects.count() == 1
    assert client.post(page(scene, "form/edit/"), data | {"action": "publish"}).status_code == 302
    form = form_current(scene.project)
    assert form.version == 2 and form.fields["flags"] == ["hallucination", "too_long"]
    assert form.fields["prompt_fields"][1] == {
        "key": "audience",
        "label": "For whom?",
        "type": "choice",
        "required": True,
        "choices": ["child", "expert"],
    }
    versions = client.get(page(scene, "form/")).content.decode()
    assert "Version 2 is in force" in versions and "An answer may be left unranked now." in versions
    untouched = sent(client, scene)
    assert (untouched["flag-0-key"], untouched["question-0-key"]) == ("too_long", "audience")


def test_a_form_that_cannot_be_is_refused_in_words_and_what_was_written_stays(as_, scene):
    client = as_(scene.ada)
    data = sent(client, scene) | CHANGE | {"flag-0-key": "Too Long", "action": "publish"}
    answer = client.post(page(scene, "form/edit/"), data)
    html = answer.content.decode()
    assert answer.status_code == 422 and "small Latin letters" in html and "Too Long" in html
    stale = sent(client, scene) | CHANGE | {"action": "publish"}
    publish(scene, allow_ties=False)
    answer = client.post(page(scene, "form/edit/"), stale)
    assert answer.status_code == 422 and "published meanwhile" in answer.content.decode()
    assert FormVersion.objects.count() == 2


def test_a_task_opened_before_a_change_loses_nothing_by_it(as_, scene):
    client = as_(scene.alice)
    assignment = start(client, scene, "ranking")
    before = client.get(address(scene, assignment)).content.decode()
    assert 'action="?form=1"' in before
    publish(scene, flags=[], rating={"minimum": 1, "maximum": 3}, allow_ties=False)
    form = ranked([1, 1, 2, 3], [7, 5, 3, 1]) | form_of(client, address(scene, assignment))
    form["flags-0"] = ["hallucination"]
    draft = client.post(address(scene, assignment, "draft/"), form, headers=JSON)
    assert draft.status_code == 200
    after = client.get(address(scene, assignment)).content.decode()  # reloaded: the same form, with the draft
    assert 'action="?form=1"' in after and "Makes something up" in after
    assert client.post(address(scene, assignment) + "?form=1", form).status_code == 302
    label = Ranking.objects.get()
    assert label.form.version == 1 and [row.rating for row in label.ranked_responses.all()] == [7, 5, 3, 1]
    assert label.ranked_responses.first().flags == ["hallucination"]
    following = Assignment.objects.exclude(pk=assignment.pk).get(status="leased")
    assert 'action="?form=2"' in client.get(address(scene, following)).content.decode()
    assert 'action="?form=1"' in client.get(address(scene, assignment)).content.decode()  # to edit an older label
    refused = client.post(address(scene, assignment) + "?form=99", form)
    assert refused.status_code == 422 and "no version 99" in refused.content.decode()


def test_the_prompts_own_fields_are_asked_kept_and_shown(as_, scene):
    question = {"key": "audience", "label": "For whom?", "type": "choice", "choices": ["child", "expert"]}
    publish(scene, prompt_fields=[{"key": "ambiguous"}, {"key": "sensitive_content"}, question | {"required": True}])
    client = as_(scene.alice)
    assignment = start(client, scene, "ranking")
    url = address(scene, assignment) + "?form=2"
    form = ranked([1, 2, 3, 4], [7, 5, 3, 1]) | form_of(client, address(scene, assignment)) | {"field-ambiguous": "yes"}
    refused = client.post(url, form, headers=JSON)
    assert refused.status_code == 422 and refused.json()["fields"] == {"field-audience": "Answer “For whom?”."}
    client.post(address(scene, assignment, "draft/"), form, headers=JSON)
    assert 'name="field-ambiguous" value="yes" checked' in client.get(address(scene, assignment)).content.decode()
    assert client.post(url, form | {"field-audience": "child"}).status_code == 302
    assert Ranking.objects.get().prompt_fields == {"ambiguous": True, "sensitive_content": False, "audience": "child"}
    html = client.get(address(scene, assignment)).content.decode()
    assert '<option value="child" selected>' in html
    as_(scene.rita)
    prompt = client.get(page(scene, f"prompts/{assignment.task.prompt_id}/")).content.decode()
    assert "For whom?" in prompt and "child" in prompt


def test_without_script_an_answer_is_left_unranked_where_that_is_allowed(as_, scene):
    client = as_(scene.alice)
    publish(scene, allow_partial=True)
    assignment = start(client, scene, "ranking")
    url = address(scene, assignment) + "?form=2"
    form = ranked([2, 1, 1, 1], [5, 6, 6, 4]) | form_of(client, address(scene, assignment))
    form |= {"rank-3": "", "rating-3": ""}
    assert client.post(url, form | {"rank-1": "", "rank-2": ""}).status_code == 422  # one ranked answer is no ranking
    assert client.post(url, form).status_code == 302
    rows = Ranking.objects.get().ranked_responses.order_by("position")
    assert [(row.rank, row.rating) for row in rows] == [(2, 5), (1, 6), (1, 6), (None, None)]


def test_a_plain_form_is_asked_once_about_a_rank_against_the_ratings(as_, scene):
    client = as_(scene.alice)
    assignment = start(client, scene, "ranking")
    url = address(scene, assignment)
    form = ranked([1, 2, 3, 4], [2, 6, 5, 1]) | form_of(client, url)
    asked = client.post(url, form)
    html = asked.content.decode()
    assert asked.status_code == 200 and not Ranking.objects.exists()
    assert "A is ranked above B, but rated lower (2 against 6)." in html and 'name="contradictions_seen"' in html
    assert 'value="6" checked' in html  # nothing has to be filled in again
    assert client.post(url, form | {"contradictions_seen": "yes"}).status_code == 302
    assert Ranking.objects.count() == 1


def test_the_pages_script_has_pointed_it_out_already(as_, scene):
    client = as_(scene.alice)
    assignment = start(client, scene, "ranking")
    form = ranked([1, 2, 3, 4], [2, 6, 5, 1]) | form_of(client, address(scene, assignment))
    assert client.post(address(scene, assignment), form, headers=JSON).status_code == 200
    assert Ranking.objects.count() == 1
