"""What commands print: tables for people, JSON for programs."""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
import orjson
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from gateway.model.sizes import in_units

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

# Terminals obey these: a name in the audit log may come from anybody.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_WIDTH_OF_FILES = 400
"""Columns where no terminal limits them: what is piped into another program must not be cut."""
_NOTHING = "-"
_ENDS_OF_TIMES = ("_at", "_until", "last_pulled")


def print_json(value: Any) -> None:
    """Print a value for programs, with times as the management API writes them."""
    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z).decode())


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], empty: str) -> None:
    """Print rows under their columns' names, or what to say when there are none."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(shown(cell)) for cell in row))
    if table.row_count:
        _console().print(table)
    else:
        click.echo(empty)


def print_fields(found: Iterable[Mapping[str, Any]], columns: Sequence[str], empty: str) -> None:
    """Print some fields of each entry of a list, or what to say when there are none."""
    rows = ([field(each, column) for column in columns] for each in found)
    print_table([heading(column) for column in columns], rows, empty)


def print_facts(facts: Iterable[tuple[str, Any]]) -> None:
    """Print names and values, one pair a line."""
    facts = list(facts)
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        click.echo(f"{name:{width}}  {shown(value)}")


def print_text(text: str) -> None:
    """Print a text of several lines that anybody may have written."""
    for line in text.splitlines():
        click.echo(_CONTROLS.sub("\N{REPLACEMENT CHARACTER}", line.expandtabs()))


def heading(name: str) -> str:
    """Return the name of a field of an answer as people read it."""
    return name.removesuffix("_at").replace("_", " ")


def field(found: Mapping[str, Any], name: str) -> Any:
    """Return a field of an answer as people read it: times by their clock, sizes in binary units."""
    if name.endswith(_ENDS_OF_TIMES):
        return local_time(found[name])
    return binary_size(found[name]) if name == "size" else found[name]


def shown(value: Any) -> str:
    """Return a value as people read it; times are in their own zone."""
    if value is None or value in ("", []):
        return _NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(shown(each) for each in value)
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", str(value))


def local_time(text: str | None) -> str | None:
    """Return a time of the management API as a clock on the wall shows it."""
    if text is None:
        return None
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def binary_size(size: int) -> str:
    """Return a number of bytes in the largest unit that it reaches."""
    value, unit = in_units(size)
    return f"{value:.1f} {unit}" if unit != "B" else f"{size} B"


@contextmanager
def counted(doing: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show on a terminal how far something is, and nothing once it is done; ``total`` is None where nobody knows."""
    with _bar(MofNCompleteColumn()) as progress:
        task = progress.add_task(doing, total=total)
        yield lambda steps: progress.advance(task, steps)


@contextmanager
def measured(doing: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show in the same way how many bytes are done, and how long the rest may take."""
    with _bar(DownloadColumn(binary_units=True), TimeRemainingColumn()) as progress:
        task = progress.add_task(doing, total=total)
        yield lambda size: progress.advance(task, size)


@contextmanager
def reported() -> Iterator[Callable[[str, int, int], None]]:
    """Show on a terminal how far the work is that is reported, by its name, and nothing once it is done."""
    progress = _bar(MofNCompleteColumn())
    tasks: dict[str, TaskID] = {}

    def report(doing: str, done: int, total: int) -> None:
        if doing not in tasks:
            # Not before there is something to show: most commands report nothing.
            progress.start()
            tasks[doing] = progress.add_task(doing, total=total)
        progress.update(tasks[doing], completed=done, total=total)

    try:
        yield report
    finally:
        progress.stop()


def _bar(*columns: ProgressColumn) -> Progress:
    console = Console(stderr=True)
    whole = (TextColumn("{task.description}"), BarColumn(), *columns)
    return Progress(*whole, console=console, transient=True, disable=not console.is_terminal)


def _console() -> Console:
    return Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_OF_FILES)
