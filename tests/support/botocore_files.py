"""Botocore's files, which are large, read once by a process and not again for each client."""

from __future__ import annotations

from functools import cache

import botocore.loaders
import botocore.session


@cache
def read_once() -> None:
    """Let all sessions of this process, and of those that are forked from it, share what was read."""
    botocore.session.create_loader = cache(botocore.loaders.create_loader)
    botocore.session.Session().create_client("s3", region_name="us-east-1").close()
