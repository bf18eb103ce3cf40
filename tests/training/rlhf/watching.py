"""Functions of the core watched, or replaced by a bug, wherever they are called by their own name."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from training.rlhf import ppo, reward, sft

STAGES = (ppo, reward, sft)  # imported first: a module that is imported meanwhile would keep what it found


class Call(NamedTuple):
    """One call of a watched function: its arguments by name, and what it returned."""

    given: dict[str, Any]
    result: Any


def watch(patch: pytest.MonkeyPatch, function: Any, package: str = "training.rlhf") -> list[Call]:
    """Keep the calls of `function` out of any module of `package`."""
    calls: list[Call] = []
    signature = inspect.signature(function)

    def watched(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        calls.append(Call(dict(signature.bind(*args, **kwargs).arguments), result))
        return result

    for module in callers(function, package):
        patch.setattr(module, function.__name__, watched)
    return calls


def plant(patch: pytest.MonkeyPatch, function: Any, bug: Callable[..., Any]) -> None:
    """Let everybody, tests included, call `bug(function, ...)` in place of `function(...)`."""
    planted = functools.wraps(function)(functools.partial(bug, function))
    for package in ("training.rlhf", "tests.training.rlhf"):
        for module in callers(function, package):
            patch.setattr(module, function.__name__, planted)


def callers(function: Any, package: str) -> Iterator[ModuleType]:
    for name, module in list(sys.modules.items()):
        if name.startswith(package) and getattr(module, function.__name__, None) is function:
            yield module
