"""The ``slipway`` command."""

from __future__ import annotations

import sys

import click

from gateway.cli.accounts import account, policy
from gateway.cli.audit import audit
from gateway.cli.clients import Refused
from gateway.cli.doctor import doctor
from gateway.cli.fsck import fsck
from gateway.cli.gc import gc
from gateway.cli.images import image
from gateway.cli.keys import key
from gateway.cli.pulls import pulls
from gateway.cli.registries import registry
from gateway.cli.serve import serve
from gateway.cli.signing_keys import signing_key
from gateway.cli.tags import tag
from gateway.errors import SlipwayError

_REFUSED = 1
_WRONG_SET_UP = 2


class _InOrder(click.Group):
    """Lists commands as they were added: what is needed first comes first."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self.commands)


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="slipway", prog_name="slipway")
def slipway() -> None:
    """Slipway: a container registry whose heart is a fast blob gateway."""


for _command in (serve, registry, image, tag, account, policy, key, audit, pulls, signing_key, doctor, fsck, gc):
    slipway.add_command(_command)


def main() -> None:
    """Run the command; a refusal is one line and exit code 1, a wrong set-up or a backend that is away 2."""
    try:
        slipway()
    except SlipwayError as error:
        click.echo(f"slipway: {error}", err=True)
        sys.exit(_REFUSED if isinstance(error, Refused) else _WRONG_SET_UP)
