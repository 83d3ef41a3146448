"""Protocol 2.1, 2.2, 2.7 and the edge cases about tokens: what each request needs, and what it gets without."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from support.accounts import basic

from .accounts import SHELF, Guarded
from .content import BLOB, EMPTY_JSON, IMAGE, LAYER, OCI_MANIFEST, noise, sha256
from .wire import connect

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import tzinfo

    from .wire import Answer

UNKNOWN = "unknown/repository"
DIGEST = sha256(LAYER)
UPLOAD = "11111111-1111-4111-8111-111111111111"
PULL, PUSH, DELETE = "pull", "pull,push", "delete"

# Method, address below /v2/<name>/, scope that is needed, and what a key that may do everything gets on the shelf.
REQUESTS: list[tuple[str, str, str, int]] = [
    ("GET", "manifests/latest", PULL, 200),
    ("HEAD", "manifests/latest", PULL, 200),
    ("GET", f"manifests/{sha256(IMAGE)}", PULL, 200),
    ("PUT", "manifests/new", PUSH, 400),
    ("DELETE", "manifests/no-such-tag", DELETE, 404),
    ("DELETE", f"manifests/{sha256(b'nothing')}", DELETE, 404),
    ("GET", f"blobs/{DIGEST}", PULL, 200),
    ("HEAD", f"blobs/{DIGEST}", PULL, 200),
    ("DELETE", f"blobs/{sha256(b'nothing')}", DELETE, 404),
    ("GET", "tags/list", PULL, 200),
    ("GET", f"referrers/{DIGEST}", PULL, 200),
    ("POST", "blobs/uploads/", PUSH, 202),
    ("POST", f"blobs/uploads/?digest={sha256(b'')}", PUSH, 201),
    ("GET", f"blobs/uploads/{UPLOAD}", PULL, 404),
    ("HEAD", f"blobs/uploads/{UPLOAD}", PULL, 404),
    ("PATCH", f"blobs/uploads/{UPLOAD}", PUSH, 404),
    ("PUT", f"blobs/uploads/{UPLOAD}?digest={DIGEST}", PUSH, 404),
    ("DELETE", f"blobs/uploads/{UPLOAD}", PUSH, 404),
]
each_request = pytest.mark.parametrize(
    ("method", "path", "actions", "status"), REQUESTS, ids=[f"{each[0]} {each[1][:24]}" for each in REQUESTS]
)


def check_refusal(answer: Answer, challenge: str) -> None:
    """A refusal has one challenge, which is exactly this one."""
    assert answer.status == 401, answer
    assert answer.all("WWW-Authenticate") == [challenge]
    if answer.method == "HEAD":
        assert answer.body == b""
    else:
        assert answer.codes() == ["DENIED" if "insufficient_scope" in challenge else "UNAUTHORIZED"]


@each_request
@pytest.mark.parametrize("name", [SHELF, UNKNOWN])
async def test_without_a_token(guarded: Guarded, name: str, method: str, path: str, actions: str, status: int) -> None:
    """The challenge names what is needed, and no error; whether the repository exists is not to be seen."""
    assert status
    answer = await guarded.ask(method, f"/v2/{name}/{path}")

    check_refusal(answer, guarded.challenge(f"repository:{name}:{actions}"))


@each_request
async def test_with_a_token_for_exactly_this(
    guarded: Guarded, method: str, path: str, actions: str, status: int
) -> None:
    """The challenge's scope, given to the token endpoint as it stands, leads to a token that will do."""
    token = await guarded.token("manager", f"repository:{SHELF}:{actions}")

    assert (await guarded.ask(method, f"/v2/{SHELF}/{path}", token)).status == status


@each_request
async def test_with_basic(guarded: Guarded, method: str, path: str, actions: str, status: int) -> None:
    """Scripts need no token."""
    assert actions
    assert (await guarded.ask(method, f"/v2/{SHELF}/{path}", guarded.keys["manager"].basic)).status == status


@each_request
async def test_with_a_token_that_lacks_something(
    guarded: Guarded, method: str, path: str, actions: str, status: int
) -> None:
    """Each action that is missing counts, and so does another repository (a)."""
    assert status
    everything = {"pull", "push", "delete"}
    needed = set(actions.split(","))
    tokens = [await guarded.token("manager", f"repository:{SHELF}:{','.join(everything - {one})}") for one in needed]
    tokens += [await guarded.token("manager"), await guarded.token("manager", "repository:shelf/other:*")]

    for token in tokens:
        answer = await guarded.ask(method, f"/v2/{SHELF}/{path}", token)
        check_refusal(answer, guarded.challenge(f"repository:{SHELF}:{actions}", "insufficient_scope"))


MAY = {
    "root": {PULL, PUSH, DELETE},
    "manager": {PULL, PUSH, DELETE},
    "everywhere": {PULL, PUSH, DELETE},
    "viewer": {PULL},
    "reader": {PULL},
    "robot": set[str](),
    "nobody": set[str](),
    None: set[str](),
}


@pytest.mark.parametrize("way", ["token", "basic"])
@pytest.mark.parametrize("who", MAY)
async def test_rights_are_those_of_the_key(guarded: Guarded, who: str | None, way: str) -> None:
    """Whatever was asked for; by token and by secret alike."""
    if way == "token":
        authorization = await guarded.token(who, f"repository:{SHELF}:*")
    else:
        authorization = guarded.keys[who].basic if who else "Basic Og=="

    for method, path, actions, status in REQUESTS:
        answer = await guarded.ask(method, f"/v2/{SHELF}/{path}", authorization)
        if actions in MAY[who]:
            assert answer.status == status, answer
        else:
            error = None if who is None and way == "basic" else "insufficient_scope"
            check_refusal(answer, guarded.challenge(f"repository:{SHELF}:{actions}", error))


async def test_a_robot_keeps_to_its_patterns(guarded: Guarded) -> None:
    """It pushes and pulls there, deletes nothing, and sees nothing of its neighbours."""
    token = await guarded.token("robot", "repository:ci/new:*", f"repository:{SHELF}:*")

    assert (
        await guarded.ask("POST", f"/v2/ci/new/blobs/uploads/?digest={sha256(BLOB)}", token, body=BLOB)
    ).status == 201
    assert (await guarded.ask("GET", f"/v2/ci/new/blobs/{sha256(BLOB)}", token)).body == BLOB
    for method, target, scope in (
        ("DELETE", f"/v2/ci/new/blobs/{sha256(BLOB)}", "repository:ci/new:delete"),
        ("GET", f"/v2/{SHELF}/tags/list", f"repository:{SHELF}:pull"),
        ("GET", f"/v2/{UNKNOWN}/tags/list", f"repository:{UNKNOWN}:pull"),
    ):
        check_refusal(await guarded.ask(method, target, token), guarded.challenge(scope, "insufficient_scope"))


@pytest.mark.parametrize("who", ["manager", "viewer", "robot", "nobody", None])
async def test_the_catalog(guarded: Guarded, who: str | None) -> None:
    """Only for those who see the registry, and with a token for it."""
    scope = "registry:catalog:*"
    token = await guarded.token(who, scope)
    answer = await guarded.ask("GET", "/v2/_catalog", token)

    if who in {"manager", "viewer"}:
        assert (answer.status, SHELF in answer.json()["repositories"]) == (200, True)
        answer = await guarded.ask("GET", "/v2/_catalog", await guarded.token(who, f"repository:{SHELF}:*"))
    check_refusal(answer, guarded.challenge(scope, "insufficient_scope"))
    check_refusal(await guarded.ask("GET", "/v2/_catalog"), guarded.challenge(scope))


@pytest.mark.parametrize("path", ["/v2/", "/v2"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_ping(guarded: Guarded, method: str, path: str) -> None:
    """Needs a token of whoever; its challenge has no scope."""
    check_refusal(await guarded.ask(method, path), guarded.challenge())
    for who in ("manager", "nobody", None):
        assert (await guarded.ask(method, path, await guarded.token(who))).status == 200
    assert (await guarded.ask(method, path, guarded.keys["nobody"].basic)).status == 200


async def test_a_public_registry(guarded: Guarded) -> None:
    """Its challenge leads the anonymous to a token that pulls; nothing else becomes possible."""
    await guarded.change("UPDATE registries SET public_pull = true")
    try:
        first = await guarded.ask("GET", f"/v2/{SHELF}/manifests/latest")
        check_refusal(first, guarded.challenge(f"repository:{SHELF}:pull"))
        for who in (None, "nobody", "robot"):
            token = await guarded.token(who, f"repository:{SHELF}:*", "registry:catalog:*")
            assert (await guarded.ask("GET", f"/v2/{SHELF}/manifests/latest", token)).body == IMAGE
            assert (await guarded.ask("GET", "/v2/_catalog", token)).status == 401
            for method, path, actions, _ in REQUESTS:
                if actions != PULL:
                    answer = await guarded.ask(method, f"/v2/{SHELF}/{path}", token)
                    check_refusal(answer, guarded.challenge(f"repository:{SHELF}:{actions}", "insufficient_scope"))
    finally:
        await guarded.change("UPDATE registries SET public_pull = false")
    answer = await guarded.ask("GET", f"/v2/{SHELF}/manifests/latest", token)
    check_refusal(answer, guarded.challenge(f"repository:{SHELF}:pull", "insufficient_scope"))


# --- tokens and credentials that are no good -----------------------------------------------------


@pytest.fixture
async def token(guarded: Guarded) -> str:
    """A token of the manager's for the shelf."""
    return (await guarded.token("manager", f"repository:{SHELF}:*")).removeprefix("Bearer ")


BAD: dict[str, Callable[[str], str]] = {
    "nothing": lambda _: "",
    "rubbish": lambda _: "hello",
    "tampered": lambda token: token[:-5] + ("AAAAA" if token[-5:] != "AAAAA" else "BBBBB"),
    "alg none (c)": lambda token: jwt.encode(
        jwt.decode(token, options={"verify_signature": False}), "", algorithm="none"
    ),
    "another algorithm": lambda token: jwt.encode(
        jwt.decode(token, options={"verify_signature": False}),
        "0" * 64,
        algorithm="HS256",
        headers={"kid": jwt.get_unverified_header(token)["kid"]},
    ),
}


@pytest.mark.parametrize("case", BAD)
async def test_a_bad_token_is_called_so(guarded: Guarded, token: str, case: str) -> None:
    """``invalid_token`` is what makes clients fetch another one."""
    answer = await guarded.ask("GET", f"/v2/{SHELF}/tags/list", f"Bearer {BAD[case](token)}")

    check_refusal(answer, guarded.challenge(f"repository:{SHELF}:pull", "invalid_token"))


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer  "])
async def test_the_scheme_may_be_written_in_any_case(guarded: Guarded, token: str, scheme: str) -> None:
    """Edge case (o)."""
    assert (await guarded.ask("GET", f"/v2/{SHELF}/tags/list", f"{scheme} {token}")).status == 200


@pytest.mark.parametrize(
    "authorization", ["Basic Og==", "Basic", "Basic !!!", "Digest x", "hello", basic("SWUNKNOWN", "x"), basic("", "x")]
)
async def test_bad_credentials_lead_to_the_token_endpoint(guarded: Guarded, authorization: str) -> None:
    """Whatever was sent: no error, since it was no token; Basic is never offered."""
    answer = await guarded.ask("GET", f"/v2/{SHELF}/tags/list", authorization)

    check_refusal(answer, guarded.challenge(f"repository:{SHELF}:pull"))


async def test_a_token_of_another_registry_is_no_token(guarded: Guarded, token: str) -> None:
    """A registry that is made anew is another one, whatever its name."""
    service = guarded.service
    await guarded.change("UPDATE registries SET public_id = $1", "f" * 32)
    try:
        answer = await guarded.ask("GET", f"/v2/{SHELF}/tags/list", f"Bearer {token}")
        assert answer.status == 401
        assert answer["WWW-Authenticate"].endswith('error="invalid_token"')
    finally:
        await guarded.change("UPDATE registries SET public_id = $1", service)
    assert (await guarded.ask("GET", f"/v2/{SHELF}/tags/list", f"Bearer {token}")).status == 200


ENDS = {
    "disabled": "UPDATE access_keys SET disabled_at = now() WHERE access_key_id = $1",
    "expired": "UPDATE access_keys SET expires_at = now() WHERE access_key_id = $1",
    "deleted": "UPDATE access_keys SET deleted_at = now() WHERE access_key_id = $1",
    "account deleted": "UPDATE accounts SET deleted_at = now() WHERE id = "
    "(SELECT account_id FROM access_keys WHERE access_key_id = $1)",
}


@pytest.mark.parametrize("end", ENDS)
async def test_a_key_that_ends_takes_its_tokens_along(guarded: Guarded, end: str) -> None:
    """At once, and its secret is worth nothing either."""
    key = guarded.keys["viewer"]
    token = await guarded.token("viewer", f"repository:{SHELF}:pull")
    assert (await guarded.ask("GET", f"/v2/{SHELF}/tags/list", token)).status == 200

    await guarded.change(ENDS[end], key.id)
    try:
        answer = await guarded.ask("GET", f"/v2/{SHELF}/tags/list", token)
        check_refusal(answer, guarded.challenge(f"repository:{SHELF}:pull", "invalid_token"))
        assert (await guarded.ask("GET", "/token", key.basic)).status == 401
        answer = await guarded.ask("GET", f"/v2/{SHELF}/tags/list", key.basic)
        check_refusal(answer, guarded.challenge(f"repository:{SHELF}:pull"))
    finally:
        await guarded.change(
            "UPDATE access_keys SET disabled_at = NULL, expires_at = NULL, deleted_at = NULL WHERE access_key_id = $1",
            key.id,
        )
        await guarded.change("UPDATE accounts SET deleted_at = NULL WHERE name = 'viewer'")
    assert (await guarded.ask("GET", f"/v2/{SHELF}/tags/list", token)).status == 200


async def test_rights_that_end_take_their_tokens_along(guarded: Guarded) -> None:
    """The token says that it may push; the account may not any more."""
    token = await guarded.token("manager", f"repository:{SHELF}:*")
    demote = "UPDATE policies SET role = $1 WHERE account_id = (SELECT id FROM accounts WHERE name = 'manager')"

    await guarded.change(demote, "viewer")
    try:
        assert (await guarded.ask("GET", f"/v2/{SHELF}/tags/list", token)).status == 200
        answer = await guarded.ask("POST", f"/v2/{SHELF}/blobs/uploads/", token)
        check_refusal(answer, guarded.challenge(f"repository:{SHELF}:pull,push", "insufficient_scope"))
    finally:
        await guarded.change(demote, "manager")


async def test_both_secrets_of_a_changeover_work_until_the_older_ends(guarded: Guarded) -> None:
    """Then only the newer does."""
    viewer, nobody = guarded.keys["viewer"], guarded.keys["nobody"]
    # The viewer's key gets the secret of another one beside its own.
    await guarded.change(
        "INSERT INTO key_secrets (key_id, scheme, pepper_id, hash, expires_at)"
        " SELECT viewer.id, scheme, pepper_id, hash, now() + interval '1 hour' FROM key_secrets, access_keys viewer"
        " WHERE viewer.access_key_id = $1 AND key_id = (SELECT id FROM access_keys WHERE access_key_id = $2)",
        viewer.id,
        nobody.id,
    )
    assert (await guarded.ask("GET", "/v2/", basic(viewer.id, nobody.secret))).status == 200
    assert (await guarded.ask("GET", "/v2/", viewer.basic)).status == 200

    await guarded.change("UPDATE key_secrets SET expires_at = now() WHERE expires_at IS NOT NULL")

    assert (await guarded.ask("GET", "/v2/", basic(viewer.id, nobody.secret))).status == 401
    assert (await guarded.ask("GET", "/v2/", viewer.basic)).status == 200


# --- mounts (2.7) --------------------------------------------------------------------------------

MOUNT = f"/v2/ci/target/blobs/uploads/?mount={sha256(EMPTY_JSON)}"
BOTH = "repository:ci/target:pull,push repository:{source}:pull"


@pytest.mark.parametrize("source", [SHELF, UNKNOWN])
async def test_a_mount_asks_for_both_repositories(guarded: Guarded, source: str) -> None:
    """With no token, and with one that says nothing of the source: the challenge names both."""
    scopes = BOTH.format(source=source)
    only_target = await guarded.token("robot", "repository:ci/target:pull,push")

    check_refusal(await guarded.ask("POST", f"{MOUNT}&from={source}"), guarded.challenge(scopes))
    answer = await guarded.ask("POST", f"{MOUNT}&from={source}", only_target)
    check_refusal(answer, guarded.challenge(scopes, "insufficient_scope"))


@pytest.mark.parametrize(
    ("who", "source", "status"),
    [
        ("manager", SHELF, 201),
        ("manager", UNKNOWN, 202),
        ("robot", "ci/app", 201),
        ("robot", SHELF, 202),
        ("robot", UNKNOWN, 202),
    ],
)
@pytest.mark.parametrize("way", ["token", "basic"])
async def test_a_source_that_was_asked_for_in_vain_is_an_upload(
    guarded: Guarded, who: str, source: str, status: int, way: str
) -> None:
    """Asking again would not help: the blob is as good as absent."""
    token = await guarded.token(who, *BOTH.format(source=source).split(" "))

    answer = await guarded.ask("POST", f"{MOUNT}&from={source}", token if way == "token" else guarded.keys[who].basic)

    assert answer.status == status, answer


@pytest.mark.parametrize("source", ["A//b", "", 'x"y'])
async def test_a_source_that_cannot_exist_needs_no_scope(guarded: Guarded, source: str) -> None:
    """It is not put into a challenge either."""
    token = await guarded.token("robot", "repository:ci/target:pull,push")
    check_refusal(
        await guarded.ask("POST", f"/v2/ci/target/blobs/uploads/?mount={sha256(BLOB)}&from={source}"),
        guarded.challenge("repository:ci/target:pull,push"),
    )

    unknown = sha256(b"nowhere")
    answer = await guarded.ask("POST", f"/v2/ci/target/blobs/uploads/?mount={unknown}&from={source}", token)

    assert answer.status == 202


@pytest.mark.parametrize(("who", "status"), [("manager", 201), ("everywhere", 201), ("robot", 202)])
async def test_mounting_from_anywhere_finds_what_may_be_pulled_anywhere(
    guarded: Guarded, who: str, status: int
) -> None:
    """A narrowed key does not learn what its neighbours have by mounting it."""
    hidden = noise(300, seed=len(who))
    push = await guarded.token("manager", "repository:hidden/place:*")
    path = f"/v2/hidden/place/blobs/uploads/?digest={sha256(hidden)}"
    assert (await guarded.ask("POST", path, push, body=hidden)).status == 201
    token = await guarded.token(who, "repository:ci/target:pull,push")

    answer = await guarded.ask("POST", f"/v2/ci/target/blobs/uploads/?mount={sha256(hidden)}", token)

    assert answer.status == status


async def test_from_without_mount_is_nothing(guarded: Guarded) -> None:
    """It is an upload like any other."""
    token = await guarded.token("robot", "repository:ci/target:pull,push")

    assert (await guarded.ask("POST", f"/v2/ci/target/blobs/uploads/?from={SHELF}", token)).status == 202


# --- uploads -------------------------------------------------------------------------------------


async def test_an_upload_belongs_to_its_account(guarded: Guarded) -> None:
    """For another one that may push there too, it does not exist (edge case 36), nor its end."""
    manager = await guarded.token("manager", "repository:ci/mine:pull,push")
    robot = await guarded.token("robot", "repository:ci/mine:pull,push")
    location = (await guarded.ask("POST", "/v2/ci/mine/blobs/uploads/", manager))["Location"]
    assert (await guarded.ask("PATCH", location, manager, body=BLOB)).status == 202

    put = f"{location}?digest={sha256(BLOB)}"
    for method, target, body in (
        ("GET", location, b""),
        ("HEAD", location, b""),
        ("PATCH", location, b"more"),
        ("PUT", put, b""),
        ("DELETE", location, b""),
    ):
        answer = await guarded.ask(method, target, robot, body=body)
        assert answer.status == 404, answer
        if method != "HEAD":
            assert answer.codes() == ["BLOB_UPLOAD_UNKNOWN"]

    assert (await guarded.ask("GET", location, manager))["Range"] == f"0-{len(BLOB) - 1}"
    assert (await guarded.ask("PUT", put, manager)).status == 201
    assert (await guarded.ask("PUT", put, robot)).status == 404
    assert (await guarded.ask("PUT", put, manager)).status == 201


async def test_two_keys_of_an_account_share_its_uploads(guarded: Guarded) -> None:
    """By token or by secret."""
    manager = await guarded.token("manager", "repository:ci/mine:pull,push")
    location = (await guarded.ask("POST", "/v2/ci/mine/blobs/uploads/", manager))["Location"]

    assert (await guarded.ask("GET", location, guarded.keys["manager"].basic)).status == 204


# --- the HTTP layer ------------------------------------------------------------------------------


async def test_a_refusal_comes_before_the_body(guarded: Guarded) -> None:
    """Edge case 39: no 100 Continue for a body that nobody wants."""
    async with connect(guarded.address) as connection:
        await connection.start(
            "PATCH",
            f"/v2/{SHELF}/blobs/uploads/{UPLOAD}",
            [("Expect", "100-continue"), ("Content-Length", "1000000"), ("Authorization", "Bearer bad")],
        )
        answer = await connection.answer("PATCH")

    assert (answer.status, answer.interim) == (401, ())


@pytest.mark.parametrize("length", [10_000, 3_000_000])
async def test_a_refused_body_does_not_hide_the_refusal(guarded: Guarded, length: int) -> None:
    """Clients that send without asking still get to read it."""
    answer = await guarded.ask("PUT", f"/v2/{SHELF}/blobs/uploads/{UPLOAD}?digest={DIGEST}", body=b"x" * length)

    assert answer.status == 401


INVALID: dict[str, int] = {
    '/v2/a"b/manifests/x': 404,
    "/v2/a%22,error=%22x/manifests/x": 404,
    "/v2/a%0d%0ab/manifests/x": 404,
    "/v2/A/manifests/x": 404,
    "/v2/a/b": 404,
    "/token/": 404,
}


@pytest.mark.parametrize("target", INVALID)
async def test_what_cannot_exist_is_not_found_and_gets_into_no_challenge(guarded: Guarded, target: str) -> None:
    """The same for everybody, so that it tells nothing."""
    for authorization in (None, await guarded.token("manager")):
        answer = await guarded.ask("GET", target, authorization)
        assert (answer.status, answer.get("WWW-Authenticate")) == (INVALID[target], None)


async def test_the_long_way(guarded: Guarded) -> None:
    """A token of sixteen kibibytes gets through (2.6), whatever it is worth."""
    answer: Any = await guarded.ask("GET", "/v2/", "Bearer " + "a" * 16 * 1024)

    assert answer.status == 401


async def test_who_pushed_is_written_down(guarded: Guarded) -> None:
    """With the name of the account and the key, and where it came from."""
    token = await guarded.token("robot", "repository:ci/app:pull,push")
    image = b'{"schemaVersion":2,"mediaType":"%s","config":%s,"layers":[]}' % (
        OCI_MANIFEST.encode(),
        b'{"mediaType":"application/vnd.oci.empty.v1+json","digest":"%s","size":2}' % sha256(EMPTY_JSON).encode(),
    )
    answer = await guarded.ask(
        "PUT", "/v2/ci/app/manifests/v1", token, headers=[("Content-Type", OCI_MANIFEST)], body=image
    )
    assert answer.status == 201, answer

    (row,) = await guarded.rows("SELECT account, access_key_id, address FROM audit_log WHERE object LIKE 'ci/app@%'")

    assert tuple(row) == ("robot", guarded.keys["robot"].id, "127.0.0.1")


async def test_a_token_that_expires_in_mid_push(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next request is refused as invalid_token, for which clients get another one; the session has lost nothing."""
    scope = "repository:expiring/app:pull,push"
    content, digest = b"first half, second half", sha256(b"first half, second half")
    token = await guarded.token("manager", scope)
    started = await guarded.ask("POST", "/v2/expiring/app/blobs/uploads/", token)
    session = started["Location"]
    first = await guarded.ask("PATCH", session, token, body=content[:10])
    assert first.status == 202

    class Later(datetime):
        """A clock that is an hour ahead."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Later:
            return cls.fromtimestamp(time.time() + 3600, tz)

    monkeypatch.setattr("gateway.services.access.datetime", Later)
    refused = await guarded.ask("PATCH", session, token, body=content[10:])
    check_refusal(refused, guarded.challenge(scope, "invalid_token"))

    again = await guarded.token("manager", scope)
    second = await guarded.ask("PATCH", session, again, body=content[10:])
    assert second["Range"] == f"0-{len(content) - 1}"
    assert (await guarded.ask("PUT", f"{session}?digest={digest}", again)).status == 201
    blob = await guarded.ask("GET", f"/v2/expiring/app/blobs/{digest}", again)
    assert blob.body == content
