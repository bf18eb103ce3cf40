"""What a model's card says of its agreement with held-out rankings, as rows of tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _

from annotation.fields import Category
from frontend.run_pages import figure, with_interval

NOTHING = "–"


def agreement_rows(card: Mapping[str, Any]) -> list[dict[str, str]]:
    """One row for all rankings, one for each K, one for each category; a measure that had no data is a dash."""
    return [
        {
            "which": which_rankings(row),
            "rankings": figure_of(row, "rankings"),
            "pairs": figure_of(row, "pairs"),
            "accuracy": with_interval(row, "accuracy") if "accuracy" in row else NOTHING,
            "tau": figure_of(row, "kendall_tau"),
            "calibration": figure_of(row, "calibration_error"),
        }
        for row in card.get("agreement") or []
    ]


def which_rankings(row: Mapping[str, Any]) -> str:
    value = str(row.get("value", ""))
    if row.get("part") == "k":
        return _("with %(k)s answers") % {"k": value}
    if row.get("part") == "category":
        return str(Category(value).label) if value in Category.values else value
    return _("all")


def calibration_rows(card: Mapping[str, Any]) -> list[dict[str, str]]:
    """One row for each bin of predicted probability."""
    return [
        {
            "predicted": f"{row['low']:.0%}–{row['high']:.0%}",
            "happened": f"{row['happened']:.0%}",
            "pairs": f"{row['pairs']:.0f}",
        }
        for row in card.get("calibration") or []
    ]


def figure_of(row: Mapping[str, Any], name: str) -> str:
    """A figure; counts without decimals."""
    if name not in row:
        return NOTHING
    return f"{row[name]:,.0f}" if name in {"rankings", "pairs"} else figure(row[name])
