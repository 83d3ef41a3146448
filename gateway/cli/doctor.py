"""``slipway doctor``: find out what is wrong with the set-up."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway import app
from gateway.cli.output import print_json, print_table
from gateway.config import load
from gateway.model.findings import Severity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.app.examination import Examined

_FOUND_ERRORS = 1


@click.command()
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of file storage and embedded Postgres.")
@click.option("--config", type=click.Path(path_type=Path), help="TOML file with settings.")
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
def doctor(data_dir: Path | None, config: Path | None, is_json: bool) -> None:  # noqa: FBT001
    """Check configuration, database and buckets; each finding says why, and what to do.

    Small objects are stored in each bucket and removed again. The exit code is 1 when there is an error.
    """
    settings = load(os.environ, config, {"data_dir": data_dir})
    examined = asyncio.run(app.examine(settings))
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
