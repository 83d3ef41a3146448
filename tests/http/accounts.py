"""A registry with accounts: who there is, and how tests get tokens from it."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from gateway.db.pool import Database
from support.accounts import EVERYWHERE, Key, add_key, execute

from .content import EMPTY_JSON, sha256
from .rows import Case, Step, manifest, play, pushed
from .wire import PATIENCE, Address, Answer, ask

if TYPE_CHECKING:
    from gateway.app.service import Running

SHELF = "shelf/main"
SECRET_WITH_EVERYTHING = "colon:비밀 - пароль:%41 &=+/ 0123456789abcdef"


@dataclass(frozen=True)
class Guarded:
    """A registry with accounts, where ``shelf/main`` has an image with the tag latest."""

    address: Address
    url: str
    """Of its database."""
    service: str
    keys: dict[str, Key]
    heard: threading.Event = field(default_factory=threading.Event)
    """Set whenever the registry forgets what it remembered of settings and keys."""

    async def ask(self, method: str, target: str, authorization: str | None = None, **details: Any) -> Answer:
        """Send one request."""
        headers = [*details.pop("headers", ()), *([("Authorization", authorization)] if authorization else [])]
        return await ask(self.address, method, target, headers=headers, **details)

    async def token(self, who: str | None, *scopes: str) -> str:
        """Get a token, and return the header that it is sent in."""
        query = urlencode([("service", self.service), *(("scope", scope) for scope in scopes)])
        answer = await self.ask("GET", f"/token?{query}", self.keys[who].basic if who else None)
        assert answer.status == 200, answer
        return f"Bearer {answer.json()['token']}"

    @property
    def realm(self) -> str:
        """Where the challenge points."""
        return f"http://{self.address.host}:{self.address.port}/token"

    def challenge(self, scope: str | None = None, error: str | None = None) -> str:
        """Return the whole of the header that asks for a token."""
        parameters = {"realm": self.realm, "service": self.service, "scope": scope, "error": error}
        return "Bearer " + ",".join(f'{name}="{value}"' for name, value in parameters.items() if value)

    async def change(self, statement: str, *arguments: object) -> None:
        """Change something in the database, as another process would, and wait until the registry has heard of it."""
        self.heard.clear()
        await execute(self.url, statement, *arguments)
        assert await asyncio.to_thread(self.heard.wait, PATIENCE), "the registry did not hear of a change"

    async def rows(self, query: str) -> list[Any]:
        """Look into the database."""
        async with Database.connected(self.url, connections=1) as database:
            return await database.fetch(query)


async def with_accounts(server: Running, url: str, heard: threading.Event) -> Guarded:
    """Make the accounts that all tests share, and fill the shelf."""
    assert server.root is not None
    keys = {
        "root": Key(server.root.access_key_id, server.root.secret_key),
        "manager": await add_key(url, "manager", "manager"),
        "everywhere": await add_key(url, "everywhere", "manager", registry_id=EVERYWHERE),
        "viewer": await add_key(url, "viewer", "viewer"),
        "nobody": await add_key(url, "nobody", None),
        "robot": await add_key(url, "robot", "manager", actions=["pull", "push"], repositories=["ci/**"]),
        "reader": await add_key(url, "reader", "manager", actions=["pull"]),
        "special": await add_key(url, "special", "viewer", secret=SECRET_WITH_EVERYTHING),
    }
    address = Address(server.host, server.port)
    answer = await ask(address, "GET", "/v2/")
    guarded = Guarded(address, url, answer["WWW-Authenticate"].split('"')[3], keys, heard)
    login = {"Authorization": keys["root"].basic}
    steps = [*pushed("latest", repo=SHELF), manifest("multi", repo=SHELF)]
    steps += [
        Step("POST", f"/v2/{repo}/blobs/uploads/?digest={sha256(EMPTY_JSON)}", 201, body=EMPTY_JSON)
        for repo in (SHELF, "ci/app", "shelf/other")
    ]
    for step in steps:
        object.__setattr__(step, "headers", {**dict(step.headers), **login})
    await play(address, {}, Case("the shelf", tuple(steps)))
    return guarded
