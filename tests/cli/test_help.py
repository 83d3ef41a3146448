"""What ``--help`` says."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest

from gateway.cli import slipway

if TYPE_CHECKING:
    from collections.abc import Iterator


def groups(group: click.Group) -> Iterator[click.Group]:
    """List a group of commands with all that are in it."""
    yield group
    for each in group.commands.values():
        if isinstance(each, click.Group):
            yield from groups(each)


@pytest.mark.parametrize("group", [*groups(slipway)], ids=lambda group: group.name)
def test_each_command_is_listed_by_a_whole_sentence(group: click.Group) -> None:
    """On a terminal of the usual width, click cuts longer ones off."""
    context = click.Context(group, terminal_width=80)

    lines = group.get_help(context).partition("Commands:\n")[2].splitlines()

    assert len(lines) == len(group.commands)
    assert all(line.endswith(".") and not line.endswith("...") for line in lines), lines


def test_the_command_that_is_needed_first_is_listed_first() -> None:
    """Not by the alphabet."""
    assert slipway.list_commands(click.Context(slipway))[:2] == ["serve", "registry"]


def test_nothing_is_loaded_that_only_an_installation_needs() -> None:
    """It would take ten times as long until the first line is seen."""
    loaded = "import sys, gateway.cli; print(*{'asyncpg', 'aiobotocore', 'aiohttp', 'pydantic'} & set(sys.modules))"

    found = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)

    assert found.stdout.split() == []
