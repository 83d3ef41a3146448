"""Logs: one line an event, on standard error."""

from __future__ import annotations

import logging

FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def configure_logs() -> None:
    """Send log lines to standard error."""
    logging.basicConfig(level=logging.INFO, format=FORMAT)
    # The libraries below us speak of every call; what matters of it is logged by us.
    for name in ("aiobotocore", "botocore", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
