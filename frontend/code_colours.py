"""Code in answers, coloured on the server. Pygments' classes are coloured by rules in plackett.css."""

from __future__ import annotations

from functools import lru_cache

from django.utils.html import escape
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.token import STANDARD_TYPES
from pygments.util import ClassNotFound

# What a hostile text can make a lexer's expressions do is bounded by its length; longer code is shown plain.
MOST_CHARACTERS = 10_000
# Languages that people write in answers. Pygments knows hundreds; fewer are fewer to go wrong.
LANGUAGES = frozenset(
    (
        *("bash", "sh", "shell", "console", "zsh", "powershell", "c", "cpp", "c++", "csharp", "c#", "css", "dart"),
        *("diff", "docker", "dockerfile", "elixir", "erlang", "fortran", "go", "graphql", "haskell", "html", "http"),
        *("ini", "java", "javascript", "js", "json", "jsx", "julia", "kotlin", "latex", "tex", "lua", "makefile"),
        *("matlab", "nginx", "objc", "ocaml", "perl", "php", "proto", "python", "py", "python3", "pycon", "r"),
        *("ruby", "rb", "rust", "rs", "scala", "scss", "scheme", "sql", "swift", "toml", "ts", "tsx", "typescript"),
        *("vim", "xml", "yaml", "yml"),
    )
)
CLASSES = frozenset(name for name in STANDARD_TYPES.values() if name)


def code_html(code: str, language: str) -> str:
    """Return the code as HTML in spans; without colours where the language isn't known or the code is very long."""
    lexer = lexer_of(language.lower()) if len(code) <= MOST_CHARACTERS else None
    if lexer is None:
        return escape(code)
    return str(highlight(code, lexer, HtmlFormatter(nowrap=True)))


@lru_cache(maxsize=128)
def lexer_of(language: str) -> Lexer | None:
    if language not in LANGUAGES:
        return None
    try:
        return get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return None
