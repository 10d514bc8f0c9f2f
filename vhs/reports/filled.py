"""A page from a template: text of any format, in which every number comes from a table."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jinja2.exceptions import SecurityError, TemplateError, TemplateSyntaxError, UndefinedError

from vhs.errors import InputError, UsageError, VhsError, choices
from vhs.figures import behind
from vhs.reports import telling
from vhs.reports.named_tables import NamedTables, Row
from vhs.reports.sandbox import MOST, Sandbox, told

SUFFIXES = (".jinja", ".j2")
FUNCTIONS = ("rows", "row", "count", "say", "table", "behind", "command")
CELL = "cell"
"""The filter that makes a cell of what an expression gives."""
COMPILED = "<template>"
"""What Jinja calls the file of a template's code."""


def check_alone(card: object, title: object) -> None:
    """Raises UsageError for what a page from a template is not asked for with."""
    for name, value in (("--card", card), ("--title", title)):
        if value is not None:
            raise UsageError(f"{name}: is not of a page from --template, which has its own words. Drop one of them.")


def name_of_page(template: Path) -> Path:
    """What a page is called, in the folder one is in: as its template, without the suffix that says it is one.

    Raises UsageError where there is none.
    """
    if template.suffix not in SUFFIXES:
        raise UsageError(f"--template {template}: does not end in {choices(SUFFIXES)}. Name the page with -o.")
    return Path(template.stem)


def definitions(typed: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE words as values by name. Raises UsageError for names that are none, or are functions."""
    found = {}
    for word in typed:
        name, equals, value = word.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"--define {word}: expected NAME=VALUE, with a name of letters, digits and _.")
        if name in FUNCTIONS or name in found:
            why = "is a function of templates" if name in FUNCTIONS else "is defined twice"
            raise UsageError(f"--define {word}: {name} {why}. Take another name.")
        found[name] = value
    return found


def render(template: Path, tables: NamedTables, defined: Mapping[str, str] | None = None) -> bytes:
    """The page. defined: values that the template has by name, beside what its tables say.

    Raises InputError naming the line of the template for whatever does not work there.
    """
    text = _read(template)
    with _at_its_line(str(template)):
        sandbox = furnished(tables, defined or {})
        pieces: list[str] = []
        length = 0
        for piece in sandbox.compiled(text).generate():
            length += len(piece)
            if length > MOST:
                raise InputError(f"the page is longer than {MOST >> 20} MiB. Does a loop never end?")
            pieces.append(piece)
        return "".join(pieces).encode()


def furnished(tables: NamedTables, defined: Mapping[str, str]) -> Sandbox:
    """A sandbox with the functions and filters of templates, and what is defined by name."""
    sandbox = Sandbox()
    sandbox.globals |= {**defined, **functions(tables, sandbox)}
    sandbox.filters |= telling.FILTERS | {"tex": lambda value: behind.tex(told(value)), CELL: _cell}
    return sandbox


def functions(tables: NamedTables, sandbox: Sandbox) -> dict[str, Callable[..., Any]]:
    """What a template can call. Its keywords are columns, whatever these are called."""

    def rows(name: str, where: Mapping[str, Any]) -> list[Row]:
        found = tables.rows(name, where)
        sandbox.spend(len(found))
        return found

    made: dict[str, Callable[..., Any]] = {
        "rows": lambda name, /, **where: rows(name, where),
        "row": lambda name, /, **where: tables.row(name, where),
        "count": lambda name, /, **where: tables.count(name, where),
        "say": lambda name, /, **where: tables.say(name, where),
        "table": lambda name, columns, /, **where: _table(sandbox, columns, (name, rows(name, where))),
        "behind": lambda name, kind=None, metric=None, form="md": tables.behind(name, kind, metric=metric, form=form),
        "command": tables.command,
    }
    for name, function in made.items():
        if name != "command":
            function.__qualname__ = name  # in messages about its arguments
    return made


def _table(sandbox: Sandbox, columns: Mapping[str, str], of: tuple[str, list[Row]]) -> str:
    """Markdown: a line a row; columns: headings, and an expression of columns and filters for each.

    of: the name of a table, and its rows. Raises InputError where there are none, and for what is no expression.
    """
    name, rows = of
    if not isinstance(columns, Mapping) or not columns:
        raise InputError("columns of table() are headings and what stands below them: {'top-1': 'top1 | percent'}.")
    if not rows:
        raise InputError(f"`{name}` has no rows for a table. Do its conditions fit each other?")
    cells = []
    for heading, expression in columns.items():
        try:
            cells.append(_column(sandbox, str(expression), rows))
        except Exception as error:  # an expression may raise anything
            said = str(error) if isinstance(error, VhsError) else _reason(error, rows[0])
            raise InputError(f"table(), below {str(heading)!r}, {str(expression)!r}: {said}") from error
    return "\n".join(behind.markdown(list(map(str, columns)), list(zip(*cells, strict=True))))


def _column(sandbox: Sandbox, expression: str, rows: list[Row]) -> list[str]:
    """What an expression of columns, and of the whole `row`, gives for each row."""
    compiled = sandbox.compiled(f"{{{{ ({expression}) | {CELL} }}}}")
    sandbox.spend(len(rows))
    return [compiled.render(row, row=row) for row in rows]


def _cell(value: Any) -> str:
    return telling.UNKNOWN if value is None else told(value)


@contextmanager
def _at_its_line(where: str) -> Iterator[None]:
    """Whatever goes wrong inside becomes one line that names the template's, too."""
    try:
        yield
    except VhsError as error:
        raise type(error)(f"{where}{_line(error)}: {error}") from error
    except Exception as error:  # a template's expressions may raise anything
        raise InputError(f"{where}{_line(error)}: {_reason(error)}") from error


def _line(error: Exception) -> str:
    """`, line 12`: where in the template; nothing where that is not known."""
    if isinstance(error, TemplateSyntaxError):
        return f", line {error.lineno}"
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == COMPILED]
    return f", line {lines[-1]}" if lines else ""


def _reason(error: Exception, known: Iterable[str] = FUNCTIONS) -> str:
    """What Jinja or Python says, and what to do. known: names that are defined."""
    message = error.message if isinstance(error, TemplateError) else str(error)
    said = " ".join((message or "").split()).rstrip(".") or type(error).__name__
    if isinstance(error, UndefinedError):
        return f"{said}. There are {', '.join(known)}; names of tables, and values, stand in quotes."
    if isinstance(error, SecurityError):
        return f"{said}. A template reads tables and nothing else; docs/formats.md lists what it can call."
    if isinstance(error, TemplateSyntaxError) and said.startswith("No filter"):
        return f"{said}. Numbers are told by {choices(telling.FILTERS)}; docs/formats.md lists the others."
    if isinstance(error, TemplateError):
        return f"{said}. Text that is not for Jinja stands between {{% raw %}} and {{% endraw %}}."
    return f"{said} ({type(error).__name__}). Mend the expression there."


def _read(template: Path) -> str:
    """Raises InputError for what is no text, or too long."""
    try:
        with template.open("rb") as file:
            data = file.read(MOST + 1)
        if len(data) > MOST:
            raise InputError(f"{template}: is longer than {MOST >> 20} MiB. A template is text with {{{{ … }}}} in it.")
        return data.decode()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{template}: is no text in UTF-8, which a template is expected to be: {error.reason}."
        ) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{template}: {reason}. Name an existing template.") from error
