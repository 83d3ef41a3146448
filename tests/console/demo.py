"""A server with something of everything in it, for tests in a real browser and for the screenshots."""

from __future__ import annotations

import asyncio
import http.client
import random
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from console.pushing import Client
from gateway.config import Address, Settings
from support.accounts import Key, execute
from support.serving import in_the_background

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from console.pushing import JSON

CONSOLE = "console.localhost"
"""Browsers know that this is the loopback."""
PUBLIC, PRIVATE = "registries.test", "inside.test"
ROOT = Key("admin", "chosen-for-the-tests-of-the-console")

SHOP = """\
The **shop** as customers see it. Needs a database and a [payment provider](https://example.com/pay).

| variable | means |
|---|---|
| `DATABASE_URL` | where orders are kept |
| `PAYMENT_KEY` | key of the payment provider |

```sh
docker run -p 8080:8080 -e DATABASE_URL=... team.registries.test/shop/web
```

- starts within two seconds
- writes nothing to disk
"""
_KIBIBYTE = 1024
_DAYS = 90


@dataclass(frozen=True)
class Demo:
    """A running server, and how to get at it."""

    port: int
    database_url: str
    keys: dict[str, Key]

    @property
    def origin(self) -> str:
        """The console's address."""
        return f"http://{CONSOLE}:{self.port}"

    def client(self, registry: str, who: str = "root") -> Client:
        """Return a registry client of somebody."""
        return Client("127.0.0.1", self.port, self.keys[who], f"{registry}.{PUBLIC}")

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Ask the management API as root."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {"Authorization": ROOT.basic, "Host": f"{CONSOLE}:{self.port}", "Content-Type": "application/json"}
        try:
            connection.request(method, f"/api/{path}", None if body is None else orjson.dumps(body), headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        assert answer.status < 300, (method, path, content)
        return orjson.loads(content) if content else None


@contextmanager
def demo_server(folder: Path, database_url: str) -> Iterator[Demo]:
    """Run a server with nothing but the root account."""
    settings = Settings(
        listen=Address("127.0.0.1", 0),
        data_dir=folder,
        database_url=database_url,
        console_host=CONSOLE,
        public_domain=PUBLIC,
        private_domain=PRIVATE,
        root_access_key_id=ROOT.id,
        root_secret_key=ROOT.secret,
    )
    with in_the_background(settings) as server:
        yield Demo(server.port, database_url, {"root": ROOT})


def fill(demo: Demo) -> None:
    """Make accounts, registries and images, as people do."""
    for name in ("team", "fresh"):
        demo.ask("POST", "registries", {"name": name, "bucket": f"{name}-images"})
    _hire(demo, "mina", "manager", "Runs the shop", registry="team")
    _hire(demo, "guest", "viewer", "Looks only", registry="team")
    _hire(demo, "newcomer", None, "Starts on Monday")
    demo.ask("POST", "accounts", {"name": "ci", "note": "Builds images"})
    demo.ask("PUT", "accounts/ci/policies/manager?registry=team")
    narrow = {"actions": ["pull", "push"], "repositories": ["shop/**"], "expires_at": "2100-01-01T00:00:00Z"}
    demo.ask("POST", "keys", {"account": "ci", "note": "builds on the main branch", **narrow})
    _push_shop(demo)
    _push_others(demo)
    _delete_some(demo)
    asyncio.run(_pull_for_months(demo))


def image_path(name: str, *more: str) -> str:
    """Return the path of an image's page in the registry team."""
    return "/".join(["/console/registries/team/images", quote(name, safe=""), *more])


def _hire(demo: Demo, name: str, role: str | None, note: str, registry: str = "") -> None:
    demo.ask("POST", "accounts", {"name": name, "note": note})
    if role is not None:
        demo.ask("PUT", f"accounts/{name}/policies/{role}?registry={registry}")
    made = demo.ask("POST", "keys", {"account": name, "note": "laptop"})
    demo.keys[name] = Key(made["access_key_id"], made["secret_key"])


def _push_shop(demo: Demo) -> None:
    client = demo.client("team", "mina")
    for number, tag in enumerate(("1.4.0", "1.4.1", "1.4.2")):
        children = [
            client.image("shop/web", layer=_layer(tag, 900 + number), config=_config(architecture))
            for architecture in ("amd64", "arm64")
        ]
        whole = client.index("shop/web", tag, children)
    client.index("shop/web", "latest", children)
    client.referrer("shop/web", whole, "application/vnd.dev.cosign.artifact.sig.v1+json", signer="mina@example.com")
    client.referrer("shop/web", whole, "application/spdx+json", created="by the build")
    client.image("shop/web", layer=_layer("lost", 500), config=_config("amd64"))
    for _ in range(3):
        client.pull("shop/web", "1.4.2")
    described = {"short_description": "The shop, as customers see it", "description": SHOP}
    demo.ask("PATCH", "registries/team/images/shop%2Fweb", described)


def _push_others(demo: Demo) -> None:
    client = demo.client("team", "mina")
    for number in range(12):
        client.image("shop/api", f"0.{number}", layer=_layer(f"api {number}", 400 + number), config=_config("amd64"))
    for name, tag, size, short in (
        ("base/debian", "bookworm", 2900, "What all of our images begin with"),
        ("tools/migrate", "v3", 120, "Changes the database before a release"),
        ("docs/handbook", "2026", 700, "직원 안내서: 처음 오신 분은 여기부터 읽어 주세요"),
        ("old/cron", "v1", 60, ""),
    ):
        client.image(name, tag, layer=_layer(name, size), config=_config("amd64"))
        protected = {"short_description": short, "tags_mutable": name != "base/debian"}
        demo.ask("PATCH", f"registries/team/images/{quote(name, safe='')}", protected)


def _delete_some(demo: Demo) -> None:
    demo.ask("DELETE", "registries/team/images/old%2Fcron")
    demo.ask("DELETE", "registries/team/images/shop%2Fapi/tags/0.0")


async def _pull_for_months(demo: Demo) -> None:
    """Write pulls of the past, which nobody can make after the fact: some weeks are busy, no Sunday is."""
    await execute(
        demo.database_url,
        "INSERT INTO pull_history (repository_id, starts_at, span, manifest_id, key_id, pulls)"
        " SELECT r.id, date_trunc('day', now(), 'UTC') - day * interval '1 day', 24, 0, 0,"
        " round((2 + r.id * 5 % 11) * (1.6 + sin(day / 9.0))) + (day * 31 + r.id * 17) % 13"
        " FROM repositories r, generate_series(1, $1) day"
        " WHERE extract(isodow FROM now() - day * interval '1 day') < 7 AND r.deleted_at IS NULL",
        _DAYS - 1,
    )
    await execute(
        demo.database_url,
        "UPDATE repository_pulls p SET pulls = h.pulls, last_pulled_at = now() - p.repository_id * interval '3 hours'"
        " FROM (SELECT repository_id, sum(pulls) AS pulls FROM pull_history GROUP BY 1) h"
        " WHERE h.repository_id = p.repository_id",
    )
    await execute(
        demo.database_url,
        "INSERT INTO manifest_pulls (manifest_id, pulls, last_pulled_at)"
        " SELECT m.id, p.pulls >> (row_number() OVER (PARTITION BY m.repository_id ORDER BY m.id DESC))::integer,"
        " p.last_pulled_at FROM manifests m JOIN repository_pulls p ON p.repository_id = m.repository_id"
        " WHERE m.kind = 'image' AND p.pulls > 0"
        " ON CONFLICT (manifest_id) DO UPDATE SET pulls = excluded.pulls",
    )


def _layer(seed: str, kibibytes: int) -> bytes:
    return random.Random(seed).randbytes(kibibytes * _KIBIBYTE)


def _config(architecture: str) -> JSON:
    return {
        "architecture": architecture,
        "created": "2026-01-31T12:00:00Z",
        "author": "Mina",
        "config": {
            "User": "shop",
            "WorkingDir": "/srv",
            "Entrypoint": ["/usr/bin/python3"],
            "Cmd": ["-m", "shop"],
            "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8"],
            "ExposedPorts": {"8080/tcp": {}},
            "Labels": {"org.opencontainers.image.source": "https://example.com/shop"},
        },
        "history": [
            {"created": "2026-01-31T12:00:00Z", "created_by": "COPY . /srv"},
            {"created": "2026-01-31T12:00:01Z", "created_by": 'CMD ["-m" "shop"]', "empty_layer": True},
        ],
    }
