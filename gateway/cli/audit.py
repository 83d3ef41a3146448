"""``slipway audit``: who did what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import orjson

from gateway.cli.clients import address
from gateway.cli.commands import managing
from gateway.cli.output import local_time, print_json, print_table
from gateway.cli.times import Moment

if TYPE_CHECKING:
    from datetime import datetime

    from gateway.cli.commands import Session

# Few enough that each has room for words on a terminal of 80 columns; ``--json`` tells them apart.
_COLUMNS = ("time", "who", "what", "change")


@click.command()
@click.option("--registry", help="Of this registry.")
@click.option("--account", help="By this account.")
@click.option("--action", help="Of this kind, for instance registry.create or login.")
@click.option("--result", type=click.Choice(["done", "refused"]), help="With this result.")
@click.option("--since", type=Moment(ahead=False), help="Not earlier than this: a time, or a span such as 24h.")
@click.option("--until", type=Moment(ahead=False), help="Earlier than this.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="How many lines at most.")
@managing
def audit(session: Session, since: datetime | None, until: datetime | None, limit: int, **filters: str | None) -> None:
    """Show who did what, the newest first."""
    filters["since"] = since.isoformat() if since else None
    filters["until"] = until.isoformat() if until else None
    found = session.read_list(address("audit"), limit, **filters)
    if session.is_json:
        print_json(found)
    else:
        print_table(_COLUMNS, (_row(line) for line in found), "Nothing of that kind was done.")


def _row(line: dict[str, Any]) -> list[Any]:
    who = (line["account"], line["address"])
    registry = line["registry"] if line["registry"] != line["object"] else None
    what = (line["action"], registry, line["object"], _outcome(line["result"], line["count"]))
    change = _change(line["before"], line["after"])
    return [local_time(line["happened_at"]), *(" ".join(filter(None, each)) for each in (who, what)), change]


def _outcome(result: str, count: int) -> str | None:
    """Say what is not as usual: that it was refused, or came often."""
    said = [*([result] if result != "done" else []), *([f"{count} times"] if count > 1 else [])]
    return f"({', '.join(said)})" if said else None


def _change(before: Any, after: Any) -> str | None:
    """Return what has become of the thing; of two objects only what differs."""
    if isinstance(before, dict) and isinstance(after, dict):
        names = [name for name in after if before.get(name) != after[name]]
        return ", ".join(f"{name}: {_short(before.get(name))} → {_short(after[name])}" for name in names)
    return _short(after) if after is not None else None


def _short(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
