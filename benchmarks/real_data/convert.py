"""Turn the two files of real data into rows that Plackett imports, and text of this machine into a corpus.

The comparisons hold pairs of models' answers, each judged by three people (1, 2, or 0 for a tie). A judge's pairs of an
instruction become one ranking of all its answers only where they are complete (every two answers were compared) and
consistent (some order with ties explains all of them); otherwise each pair stays a ranking of two.
"""

from __future__ import annotations

import ast
import hashlib
import sys
import sysconfig
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

Row = dict[str, Any]
Verdicts = dict[tuple[str, str], int]  # (a, b) -> 1: a is better, -1: b is, 0: tied


@dataclass
class Report:
    """How the comparisons became rankings."""

    groups: int = 0  # one group = one judge's pairs of one instruction
    whole: int = 0  # groups that became one ranking of three answers or more
    incomplete: int = 0
    inconsistent: int = 0
    rankings_by_k: Counter[int] = field(default_factory=Counter)


def demonstration_rows(rows: Iterable[Mapping[str, Any]]) -> Iterator[Row]:
    """Instruction, input and output as a demonstration row."""
    for row in rows:
        prompt = prompt_text(row)
        yield {
            "id": row["id"],
            "prompt": [{"role": "user", "content": prompt}],
            "completion": [{"role": "assistant", "content": row["output"]}],
            "group": group_of(row),
            "labeler": "self-instruct authors",
        }


def ranking_rows(rows: Sequence[Mapping[str, Any]], report: Report) -> Iterator[Row]:
    """One ranking for each judge and group of answers that the judge ordered."""
    by_prompt: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        by_prompt[row["instruction"], row["input"]].append(row)
    for comparisons in by_prompt.values():
        for judge in range(len(comparisons[0]["annotators"])):
            report.groups += 1
            for answers, ranks in judge_rankings(comparisons, judge, report):
                report.rankings_by_k[len(ranks)] += 1
                yield ranking_row(comparisons[0], answers, ranks, judge)


def judge_rankings(
    comparisons: Sequence[Mapping[str, Any]], judge: int, report: Report
) -> Iterator[tuple[list[tuple[str, str]], list[int]]]:
    """Yield ([(model, text)], ranks): one whole ranking where the judge's pairs make one, else one for each pair."""
    texts: dict[str, str] = {}
    verdicts: Verdicts = {}
    for row in comparisons:
        texts[row["model1"]], texts[row["model2"]] = row["response1"], row["response2"]
        verdict = {1: 1, 2: -1, 0: 0}[row["annotators"][judge]]
        verdicts[row["model1"], row["model2"]] = verdict
        verdicts[row["model2"], row["model1"]] = -verdict
    models = sorted(texts)
    if len(models) > 2:
        ranks = whole_ranking(models, verdicts, report)
        if ranks is not None:
            report.whole += 1
            yield [(model, texts[model]) for model in models], ranks
            return
    for a, b in sorted({(min(pair), max(pair)) for pair in verdicts}):
        yield [(a, texts[a]), (b, texts[b])], {1: [1, 2], -1: [2, 1], 0: [1, 1]}[verdicts[a, b]]


def whole_ranking(models: Sequence[str], verdicts: Verdicts, report: Report) -> list[int] | None:
    """Ranks of all the models (1 is best, equal is tied), or None where pairs are missing or contradict each other."""
    pairs = list(combinations(models, 2))
    if any(pair not in verdicts for pair in pairs):
        report.incomplete += 1
        return None
    # In an order with ties, who beats more of the others stands higher; then every verdict must agree with the places.
    wins = {a: sum(verdicts[a, b] for b in models if b != a) for a in models}
    places = sorted(set(wins.values()), reverse=True)
    rank = {model: places.index(wins[model]) + 1 for model in models}
    if any(verdicts[a, b] != sign(rank[b] - rank[a]) for a, b in pairs):
        report.inconsistent += 1
        return None
    return [rank[model] for model in models]


def ranking_row(source: Mapping[str, Any], answers: Sequence[tuple[str, str]], ranks: Sequence[int], judge: int) -> Row:
    identity = "\x1f".join([source["instruction"], source["input"], str(judge), *(model for model, _ in answers)])
    return {
        "id": hashlib.sha256(identity.encode()).hexdigest()[:24],
        "prompt": [{"role": "user", "content": prompt_text(source)}],
        "completions": [{"content": text, "author": "imported", "model": model} for model, text in answers],
        "ranks": list(ranks),
        "labeler": f"judge {judge + 1}",
        "group": group_of(source),
    }


def prompt_text(row: Mapping[str, Any]) -> str:
    return f"{row['instruction']}\n\n{row['input']}" if row["input"] else str(row["instruction"])


def group_of(row: Mapping[str, Any]) -> str:
    """One instruction with several inputs is one group, written in one line; without one a prompt is on its own."""
    return " ".join(str(row["instruction"]).split())[:200].strip()


def sign(number: int) -> int:
    return (number > 0) - (number < 0)


def judges_agreement(rows: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """(agreeing, all) pairs of judges over comparisons that both of them decided."""
    agreeing = decided = 0
    for row in rows:
        for a, b in combinations(row["annotators"], 2):
            if a and b:
                decided += 1
                agreeing += a == b
    return agreeing, decided


PACKAGES = ("django", "rest_framework", "celery", "kombu", "redis", "jinja2", "numpy", "torch")


def python_documentation(limit_bytes: int) -> list[str]:
    """The running Python's own documentation: the language reference that `help()` reads, and the docstrings of the
    standard library and of the packages that Plackett stands on, their tests left out. Real English text that any
    machine with Plackett on it has."""
    texts = [text for _, text in sorted(topics.items())]
    size = sum(len(text.encode()) for text in texts)
    for path in documented_files():
        for text in docstrings(path):
            if size >= limit_bytes:
                return texts
            texts.append(text)
            size += len(text.encode())
    return texts


def documented_files() -> Iterator[Path]:
    library, packages = Path(sysconfig.get_paths()["stdlib"]), Path(sysconfig.get_paths()["purelib"])
    for folder in [library, *(packages / name for name in PACKAGES)]:
        for path in sorted(folder.rglob("*.py")):
            if not {"test", "tests", "site-packages", "idlelib", "lib2to3"} & set(path.relative_to(folder).parts):
                yield path


def docstrings(path: Path) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError, ValueError):
        print(f"left out {path.name}: not readable as Python", file=sys.stderr)
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text and len(text) > 80:
                yield text
