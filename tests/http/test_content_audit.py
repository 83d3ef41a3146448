"""Who changed content, as the audit log has it from requests."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from .content import IMAGE, sha256
from .rows import Names, Step, play, pushed, story

if TYPE_CHECKING:
    from support.databases import Server

    from .wire import Address


async def test_changes_of_an_open_registry(registry: Address, names: Names, repo: str, embedded_server: Server) -> None:
    """Nobody has an account there: the log says "open", and where from; reading and refusals leave no line."""
    digest = sha256(IMAGE)
    await play(
        registry,
        names,
        story(
            "a push, reads, a refusal and two deletes",
            pushed("v1"),
            Step("GET", "/v2/{repo}/manifests/v1", 200),
            Step("DELETE", "/v2/{repo}/blobs/{layer}", 405),
            Step("DELETE", "/v2/{repo}/manifests/v1", 202),
            Step("DELETE", "/v2/{repo}/manifests/{image}", 202),
            Step("DELETE", "/v2/{repo}/blobs/{layer}", 202),
        ),
    )

    connection = await asyncpg.connect(urlunsplit(urlsplit(embedded_server.dsn)._replace(path="/http")))
    try:
        rows = await connection.fetch("SELECT * FROM audit_log WHERE object LIKE $1 ORDER BY id", f"{repo}%")
    finally:
        await connection.close()

    assert [(row["action"], row["object"]) for row in rows] == [
        ("manifest.push", f"{repo}@{digest}"),
        ("tag.delete", f"{repo}:v1"),
        ("manifest.delete", f"{repo}@{digest}"),
        ("blob.delete", f"{repo}@{names['layer']}"),
    ]
    assert {(row["account"], row["address"], row["registry"], row["result"]) for row in rows} == {
        ("open", "127.0.0.1", "default", "done")
    }
