"""A judge's pairs become one ranking only where they are complete and consistent."""

from annotation.records import record_of
from benchmarks.real_data.convert import (
    Report,
    demonstration_rows,
    judges_agreement,
    python_documentation,
    ranking_rows,
)


def comparison(model1: str, model2: str, *verdicts: int) -> dict:
    return {
        "instruction": "Say hello.",
        "input": "",
        "response1": f"text of {model1}",
        "response2": f"text of {model2}",
        "model1": model1,
        "model2": model2,
        "annotators": list(verdicts),
    }


def test_complete_and_consistent_pairs_become_one_ranking_with_ties():
    rows = [comparison("a", "b", 2), comparison("b", "c", 1), comparison("a", "c", 0)]  # b > a = c
    report = Report()
    [ranking] = ranking_rows(rows, report)
    assert [c["model"] for c in ranking["completions"]] == ["a", "b", "c"]
    assert ranking["ranks"] == [2, 1, 2]
    assert (report.whole, report.incomplete, report.inconsistent) == (1, 0, 0)


def test_a_circle_stays_three_pairs_and_is_reported():
    rows = [comparison("a", "b", 1), comparison("b", "c", 1), comparison("a", "c", 2)]
    report = Report()
    rankings = list(ranking_rows(rows, report))
    assert [len(r["ranks"]) for r in rankings] == [2, 2, 2]
    assert report.inconsistent == 1


def test_a_missing_pair_stays_pairs():
    report = Report()
    rankings = list(ranking_rows([comparison("a", "b", 1), comparison("c", "b", 0)], report))
    assert [r["ranks"] for r in rankings] == [[1, 2], [1, 1]]
    assert report.incomplete == 1


def test_each_judge_is_a_labeler_of_their_own():
    rankings = list(ranking_rows([comparison("a", "b", 1, 2, 0)], Report()))
    assert [(r["labeler"], r["ranks"]) for r in rankings] == [
        ("judge 1", [1, 2]),
        ("judge 2", [2, 1]),
        ("judge 3", [1, 1]),
    ]
    assert len({r["id"] for r in rankings}) == 3


def test_agreement_counts_decided_pairs_only():
    # judges 1 and 2 agree; 1 and 3, 2 and 3: the third tied, so neither counts
    assert judges_agreement([comparison("a", "b", 1, 1, 0)]) == (1, 1)
    assert judges_agreement([comparison("a", "b", 1, 1, 2)]) == (1, 3)


def test_the_documentation_is_real_text_within_its_limit():
    texts = python_documentation(900_000)
    size = sum(len(text.encode()) for text in texts)
    assert 800_000 < size < 1_000_000
    assert any('"for" statement' in text for text in texts)  # of the language reference
    assert len(set(texts)) > 0.9 * len(texts)


def test_an_instruction_of_several_lines_is_one_group_that_the_import_takes():
    rows = [{"id": str(n), "instruction": "Sort:\n b,\ta", "input": text, "output": "a"} for n, text in enumerate("xy")]
    groups = {record_of("demonstrations", row).prompt.group for row in demonstration_rows(rows)}
    assert groups == {"Sort: b, a"}
    [row] = demonstration_rows([{"id": "1", "instruction": "", "input": "What is 2 + 2?", "output": "4"}])
    assert record_of("demonstrations", row).prompt.group == ""
