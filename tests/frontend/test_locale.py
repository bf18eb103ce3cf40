"""Pages in Chinese: nothing of ours is left in English."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client
from django.utils import translation

from annotation.services.prompts import PromptRow, prompts_add
from frontend.core_words import HELP, OUTCOMES, PHASES, REASONS, REFUSALS, SPLITS
from frontend.setting_words import LABELS
from training.inputs import SPLITS as FILES
from training.rlhf.config import CONFIGS, schema
from training.services.snapshots import corpus_add

CORE = Path(settings.BASE_DIR) / "training" / "rlhf"


def said(*functions: str) -> Iterator[str]:
    """The texts that the core's source gives to these functions."""
    for path in CORE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Name(name) | ast.Attribute(attr=name), args=[ast.Constant(str(text)), *_]):
                    if name in functions:
                        yield text


def test_the_core_s_words_are_listed_for_translation():
    for stage, settings_class in CONFIGS.items():
        assert " ".join((settings_class.__doc__ or "").split()) in HELP, stage
        for setting in schema(stage):
            assert setting["help"] in HELP and setting["name"] in LABELS, (stage, setting["name"])
    assert set(said("progress", "pause_point")) == set(PHASES)
    assert set(said("RowError")) <= set(REASONS)
    config = ast.parse((CORE / "config.py").read_text(encoding="utf-8"))
    constants = {node.value for node in ast.walk(config) if isinstance(node, ast.Constant)}
    assert {text for text in constants if isinstance(text, str) and "%(" in text} == set(REFUSALS)
    assert set(SPLITS) == set(FILES)
    assert len(OUTCOMES) == len(set(OUTCOMES))


@pytest.mark.parametrize("page", ["label/", "history/", "guidelines/"])
def test_a_page_in_chinese_leaves_no_english_of_ours(scene, page):
    client = Client(headers={"Accept-Language": "zh-CN"})
    client.force_login(scene.alice)
    html = client.get(f"/p/{scene.project.slug}/{page}").content.decode()
    assert 'lang="zh-Hans"' in html and "标注" in html
    for english in ("Start labeling", "History", "Guidelines<", "Sign out", "Your labels", "Skip to the content"):
        assert english not in html


def test_a_launch_form_in_chinese_explains_every_setting_in_chinese(scene):
    client = Client(headers={"Accept-Language": "zh-CN"})
    client.force_login(scene.ada)
    html = client.get(f"/p/{scene.project.slug}/runs/new/pretrain/").content.decode()
    assert "AdamW 的峰值学习率" in html and "在语料上从零训练" in html
    for setting in schema("pretrain"):
        assert setting["help"] not in html, setting["name"]


def test_a_refusal_of_a_pure_module_speaks_the_reader_s_language(scene):
    rows = [PromptRow(messages=[{"role": "user", "content": " "}])]
    with translation.override("zh-hans"):
        report = prompts_add(project=scene.project, rows=rows, pool="sft", source="labeler", by=scene.ada)
    assert report.rejected[0].problem == "第 1 条消息为空；请填写内容"


@pytest.mark.parametrize(
    ("setting", "given", "words"),
    [
        ("learning_rate", "-1", "learning_rate 必须大于 0"),
        ("heads", "3", "hidden_size 必须是头数两倍（6）的整数倍"),
    ],
)
def test_a_setting_out_of_range_is_refused_in_chinese(scene, setting, given, words):
    client = Client(headers={"Accept-Language": "zh-CN"})
    client.force_login(scene.ada)
    corpus_add(project=scene.project, name="Town", texts=["The tide comes in."] * 40, by=scene.ada)
    address = f"/p/{scene.project.slug}/runs/new/pretrain/"
    form = client.get(address).context["form"]
    sent = {name: value for name in form.fields if (value := form[name].value()) is not None}
    answer = client.post(address, sent | {f"setting-{setting}": given})
    assert answer.status_code == 422
    assert words in answer.content.decode()
