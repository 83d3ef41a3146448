"""The ``slipway`` command."""

from __future__ import annotations

import sys

import click

from gateway.cli.doctor import doctor
from gateway.cli.serve import serve
from gateway.errors import SlipwayError

_WRONG_SET_UP = 2


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="slipway", prog_name="slipway")
def _slipway() -> None:
    """Slipway: a container registry whose heart is a fast blob gateway."""


_slipway.add_command(serve)
_slipway.add_command(doctor)


def main() -> None:
    """Run the command; a wrong set-up, or a backend that is away at the start, is one line and exit code 2."""
    try:
        _slipway()
    except SlipwayError as error:
        click.echo(f"slipway: {error}", err=True)
        sys.exit(_WRONG_SET_UP)
