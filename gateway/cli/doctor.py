"""``slipway doctor``: find out what is wrong with the set-up."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import click

from gateway import app
from gateway.cli.commands import configured
from gateway.cli.output import print_json, print_table
from gateway.model.findings import Severity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.app.examination import Examined
    from gateway.config import Settings

_FOUND_ERRORS = 1


@click.command(short_help="Check configuration, certificates, database and buckets.")
@configured
def doctor(settings: Settings, *, is_json: bool) -> None:
    """Check configuration, certificates, database and buckets; each finding says why, and what to do.

    Small objects are stored in each bucket and removed again. The exit code is 1 when there is an error.
    """
    examined = asyncio.run(app.commands.examine(settings))
    if is_json:
        print_json([{"subject": each.subject, "findings": list(each.findings)} for each in examined])
    else:
        print_table(("what", "result", "finding", "reason", "mend"), _rows(examined), "Nothing was looked at.")
    if any(finding.severity is Severity.ERROR for each in examined for finding in each.findings):
        sys.exit(_FOUND_ERRORS)


def _rows(examined: Sequence[Examined]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for each in examined:
        rows += [(each.subject, found.severity, found.what, found.reason, found.mend) for found in each.findings]
        if not each.findings:
            rows.append((each.subject, "good", "", "", ""))
    return rows
