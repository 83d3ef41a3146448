"""A running server against its own OpenAPI document: whatever is sent, it answers as documented, and not by a fault.

Each operation is tried with what the document allows, with what it does not, and on things that are there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from console.demo import CONSOLE, Demo, demo_server, fill
from gateway.admin.table import OPERATIONS
from support.postgres import new_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemathesis import Case
    from schemathesis.schemas import APIOperation, BaseSchema

    from gateway.admin.operations import AnyOperation
    from support.databases import Server

EXAMPLES = 15
GONE = 8
"""Things of each kind that are there to be deleted."""
CONFIG = {
    "checks": {
        # What a name, a network or a pattern may be is said by the document in words.
        "positive_data_acceptance": {"enabled": False},
        # A condition that is false is told before anything that is wrong with the body.
        "negative_data_rejection": {
            "expected-statuses": ["400", "401", "403", "404", "409", "412", "413", "415", "422"]
        },
    },
    # Every request has these credentials, whatever is drawn; what comes of none is tried by a check.
    "generation": {"with-security-parameters": False},
}
TEAM = {"registry": "team"}
WEB = {**TEAM, "repository": "shop/web"}


@dataclass(frozen=True)
class Known:
    """What an operation can be done with."""

    path: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] | None = None
    body: dict[str, Any] | None = None


@dataclass(frozen=True)
class Room:
    """A server that is full of things, and who tries everything there."""

    schema: BaseSchema
    known: dict[str, list[Known]]
    """By the name of the operation."""
    credentials: tuple[str, str]
    headers: dict[str, str]


@pytest.fixture(scope="module")
def room(embedded_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    url = new_database(embedded_server.dsn, "schemathesis")
    with (
        pytest.MonkeyPatch.context() as patch,
        demo_server(tmp_path_factory.mktemp("schemathesis"), url) as demo,
    ):
        # So many wrong secrets come from here that waiting would be all that the tests do.
        patch.setattr("gateway.services.defence._LONGEST_DELAY", 0.0)
        fill(demo)
        made = demo.ask("POST", "accounts", {"name": "tester"})
        demo.ask("PUT", f"accounts/{made['name']}/policies/manager")
        # Nothing that is tried names this account or its key: it is not to lock itself out.
        key = demo.ask("POST", "keys", {"account": made["name"]})
        origin, headers = f"http://127.0.0.1:{demo.port}", {"Host": f"{CONSOLE}:{demo.port}"}
        config = schemathesis.Config.from_dict({**CONFIG, "base-url": origin})
        schema = schemathesis.openapi.from_url(f"{origin}/api/openapi.json", config=config, headers=headers)
        yield Room(schema, known_of(demo), (key["access_key_id"], key["secret_key"]), headers)


def known_of(demo: Demo) -> dict[str, list[Known]]:
    """Name what is there, and make what is to be deleted."""
    digest = {"digest": demo.ask("GET", "registries/team/images/shop%2Fweb/tags")["items"][0]["digest"]}
    tag = {"tag": "1.4.2"}
    (mina, *_) = demo.ask("GET", "keys?account=mina")["items"]
    own_key = {"access_key_id": mina["access_key_id"]}
    return {
        "createRegistry": [Known(body={"name": f"made-{n}", "bucket": f"made-{n}"}) for n in range(GONE)],
        "checkBucket": [Known(body={"bucket": "another"})],
        **{name: [Known(TEAM)] for name in ("getRegistry", "updateRegistry", "listImages", "listDeleted")},
        **{name: [Known(WEB)] for name in ("getImage", "updateImage", "listTags", "listManifests")},
        "getManifest": [Known({**WEB, **digest})],
        **{name: [Known(TEAM)] for name in ("listPulls", "getTraffic", "reconcileRegistry")},
        "getPulls": [Known(WEB)],
        "getTagHistory": [Known({**WEB, **tag})],
        "createAccount": [Known(body={"name": f"made-{n}"}) for n in range(GONE)],
        "getAccount": [Known({"account": "mina"})],
        "grantPolicy": [Known({"account": "newcomer", "role": "viewer"}, query={"registry": "fresh"})],
        "revokePolicy": [Known({"account": "guest", "role": "viewer"}, query={"registry": "team"})],
        "createKey": [Known(body={"account": "newcomer"})],
        **{name: [Known(own_key)] for name in ("getKey", "updateKey", "rotateKey")},
        **gone_of(demo),
    }


def gone_of(demo: Demo) -> dict[str, list[Known]]:
    """Make what is to be deleted, and delete what is to be restored."""
    client = demo.client("team")
    pushed = [client.image(f"gone/digest-{n}", "v1") for n in range(GONE)]
    for n in range(GONE):
        demo.ask("POST", "registries", {"name": f"gone-{n}", "bucket": f"gone-{n}"})
        demo.ask("POST", "accounts", {"name": f"gone-{n}"})
        for use in ("whole", "tag", "back"):
            client.image(f"gone/{use}-{n}", "v1")
        demo.ask("DELETE", f"registries/team/images/gone%2Fback-{n}")
    keys = [demo.ask("POST", "keys", {"account": "newcomer"})["access_key_id"] for _ in range(GONE)]
    deleted = demo.ask("GET", "registries/team/deleted")["items"]
    return {
        "deleteRegistry": [Known({"registry": f"gone-{n}"}) for n in range(GONE)],
        "deleteImage": [Known({**TEAM, "repository": f"gone/whole-{n}"}) for n in range(GONE)],
        "deleteTag": [Known({**TEAM, "repository": f"gone/tag-{n}", "tag": "v1"}) for n in range(GONE)],
        "deleteManifest": [
            Known({**TEAM, "repository": f"gone/digest-{n}", "digest": each["digest"]}) for n, each in enumerate(pushed)
        ],
        "restore": [Known({**TEAM, "deletion": str(each["id"])}) for each in deleted],
        "deleteAccount": [Known({"account": f"gone-{n}"}) for n in range(GONE)],
        "deleteKey": [Known({"access_key_id": each}) for each in keys],
    }


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_whatever_is_sent_the_answer_is_documented(room: Room, operation: AnyOperation) -> None:
    """And each operation has been done: answers that only refuse prove little."""
    described = room.schema[operation.path][operation.method]
    done = []

    @given(case=cases_of(described, room.known.get(operation.name, [])))
    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
    def try_it(case: Case[Any]) -> None:
        response = case.call_and_validate(auth=room.credentials, headers=room.headers)
        if response.status_code < 300:
            done.append(response.status_code)

    try_it()
    assert done, f"{operation.name} was only ever refused"


def cases_of(described: APIOperation[Any, Any, Any, Any], known: list[Known]) -> st.SearchStrategy[Case[Any]]:
    """Return requests by the document, against it, and about what is there."""
    kinds = [described.as_strategy(), described.as_strategy(GenerationMode.NEGATIVE)]
    if known:
        # The first, so that its simplest case is the one that is tried first.
        kinds.insert(0, st.sampled_from(known).flatmap(lambda each: _about(described, each)))
    return st.one_of(kinds)


def _about(described: APIOperation[Any, Any, Any, Any], known: Known) -> st.SearchStrategy[Case[Any]]:
    path = known.path or None
    if known.body is None:
        return described.as_strategy(path_parameters=path, query=known.query)
    return described.as_strategy(
        path_parameters=path, query=known.query, body=known.body, media_type="application/json"
    )
