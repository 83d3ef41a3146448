"""What commands print: tables for people, JSON for programs."""

from __future__ import annotations

import re
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
import orjson
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Terminals obey these: a name in the audit log may come from anybody.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_WIDTH_OF_FILES = 400
"""Columns where no terminal limits them: what is piped into another program must not be cut."""
_NOTHING = "-"


def print_json(value: Any) -> None:
    """Print a value for programs."""
    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


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


def print_facts(facts: Iterable[tuple[str, Any]]) -> None:
    """Print names and values, one pair a line."""
    facts = list(facts)
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        click.echo(f"{name:{width}}  {shown(value)}")


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


def _console() -> Console:
    return Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_OF_FILES)
