"""Protocol 2.4, 2.5 and 2.8: tokens by GET and POST, for everybody who asks as clients do."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import orjson
import pytest

from support.accounts import Key, basic

from .accounts import SECRET_WITH_EVERYTHING, SHELF, Guarded

if TYPE_CHECKING:
    from collections.abc import Callable

    from .wire import Answer

PULL = f"repository:{SHELF}:pull"
ALL = f"repository:{SHELF}:pull,push,delete"
FORM = [("Content-Type", "application/x-www-form-urlencoded")]


def claims(answer: Answer) -> dict[str, Any]:
    """What the token of an answer says."""
    payload: dict[str, Any] = orjson.loads(base64.urlsafe_b64decode(answer.json()["token"].split(".")[1] + "=="))
    return payload


def granted(answer: Answer) -> dict[str, list[str]]:
    """Resources and what was granted of them."""
    return {f"{each['type']}:{each['name']}": each["actions"] for each in claims(answer)["access"]}


def check_issued(answer: Answer) -> None:
    """What every client needs of a token's answer."""
    assert answer.status == 200, answer
    assert answer["Content-Type"] == "application/json"
    assert answer["Cache-Control"] == "no-store"
    content = answer.json()
    assert content["token"] == content["access_token"]
    assert content["expires_in"] == 600
    assert not {"refresh_token", "issued_at"} & set(content)
    assert len(answer.body) < 64 * 1024


# --- who asks ------------------------------------------------------------------------------------

RIGHTS = {
    "root": ["delete", "pull", "push"],
    "manager": ["delete", "pull", "push"],
    "everywhere": ["delete", "pull", "push"],
    "viewer": ["pull"],
    "reader": ["pull"],
    "robot": [],
    "nobody": [],
    None: [],
}


@pytest.mark.parametrize("who", RIGHTS)
async def test_a_token_holds_what_is_asked_for_and_allowed(guarded: Guarded, who: str | None) -> None:
    """Asking for too much is no error, nor is being nobody."""
    authorization = guarded.keys[who].basic if who else None

    answer = await guarded.ask("GET", f"/token?service={guarded.service}&scope={ALL}", authorization)

    check_issued(answer)
    assert granted(answer) == {f"repository:{SHELF}": RIGHTS[who]}
    assert claims(answer)["aud"] == guarded.service
    assert claims(answer)["sub"] == (who or "")


SCOPES: dict[str, tuple[str, dict[str, list[str]]]] = {
    "none, as docker login asks": ("", {}),
    "less than is allowed": (f"scope={PULL}", {f"repository:{SHELF}": ["pull"]}),
    "several parameters": (
        "scope=repository:a:pull&scope=repository:b:push",
        {"repository:a": ["pull"], "repository:b": ["push"]},
    ),
    "several in one parameter": (
        "scope=repository:a:pull%20repository:b:push",
        {"repository:a": ["pull"], "repository:b": ["push"]},
    ),
    "with a plus for the space": (
        "scope=repository:a:pull+repository:b:push",
        {"repository:a": ["pull"], "repository:b": ["push"]},
    ),
    "both, and one twice": (
        "scope=repository:a:pull+repository:b:push&scope=repository:a:push,pull",
        {"repository:a": ["pull", "push"], "repository:b": ["push"]},
    ),
    "everything, as skopeo asks before it deletes": (
        "scope=repository:a:*",
        {"repository:a": ["delete", "pull", "push"]},
    ),
    "a class": ("scope=repository(plugin):a:pull", {"repository:a": ["pull"]}),
    "an action that nobody knows": ("scope=repository:a:pull,dance", {"repository:a": ["pull"]}),
    "something unreadable beside it": ("scope=what&scope=repository:a:pull&scope=::", {"repository:a": ["pull"]}),
    "an empty one": ("scope=", {}),
    "the catalog": ("scope=registry:catalog:*", {"registry:catalog": ["*"]}),
    "another thing of the registry": ("scope=registry:settings:*", {"registry:settings": []}),
}


@pytest.mark.parametrize("case", SCOPES)
async def test_scopes_are_read_however_clients_write_them(guarded: Guarded, case: str) -> None:
    """By a manager, who may have it all."""
    query, expected = SCOPES[case]

    answer = await guarded.ask("GET", f"/token?{query}", guarded.keys["manager"].basic)

    check_issued(answer)
    assert granted(answer) == expected


async def test_a_hundred_scopes_fit_into_a_header(guarded: Guarded) -> None:
    """Containerd adds up scopes; what it gets must go through proxies and into our own limits."""
    query = urlencode([("scope", f"repository:team/number-{number}/app:pull,push") for number in range(100)])

    answer = await guarded.ask("GET", f"/token?{query}", guarded.keys["manager"].basic)

    check_issued(answer)
    assert len(granted(answer)) == 100
    token = answer.json()["token"]
    assert len(token) < 16 * 1024
    assert (await guarded.ask("GET", "/v2/", f"Bearer {token}")).status == 200


@pytest.mark.parametrize("who", ["viewer", "robot", "nobody", None])
async def test_the_catalog_is_for_those_who_see_the_registry(guarded: Guarded, who: str | None) -> None:
    """A narrowed key sees its repositories only, so it may not list all."""
    answer = await guarded.ask("GET", "/token?scope=registry:catalog:*", guarded.keys[who].basic if who else None)

    assert granted(answer) == {"registry:catalog": ["*"] if who == "viewer" else []}


async def test_a_narrowed_key_gets_its_patterns(guarded: Guarded) -> None:
    """And of those only its actions."""
    answer = await guarded.ask(
        "GET", "/token?scope=repository:ci/a/b:*&scope=repository:cid/a:*", guarded.keys["robot"].basic
    )

    assert granted(answer) == {"repository:ci/a/b": ["pull", "push"], "repository:cid/a": []}


async def test_a_public_registry_is_pulled_by_everybody(guarded: Guarded) -> None:
    """And pushed to by managers only."""
    await guarded.change("UPDATE registries SET public_pull = true")
    try:
        for who in (None, "nobody", "robot", "viewer"):
            answer = await guarded.ask("GET", f"/token?scope={ALL}", guarded.keys[who].basic if who else None)
            assert granted(answer) == {f"repository:{SHELF}": ["pull"]}, who
    finally:
        await guarded.change("UPDATE registries SET public_pull = false")


# --- credentials ---------------------------------------------------------------------------------


async def test_empty_credentials_are_none(guarded: Guarded) -> None:
    """The conformance suites send them when they have none."""
    answer = await guarded.ask("GET", f"/token?scope={PULL}", "Basic Og==")

    check_issued(answer)
    assert claims(answer)["sub"] == ""


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC"])
async def test_the_scheme_may_be_written_in_any_case(guarded: Guarded, scheme: str) -> None:
    """As RFC 9110 says."""
    header = guarded.keys["viewer"].basic.replace("Basic", scheme)

    assert claims(await guarded.ask("GET", "/token", header))["sub"] == "viewer"


async def test_a_secret_may_hold_colons_and_any_letters(guarded: Guarded) -> None:
    """Edge case (p), by GET and by POST."""
    key = guarded.keys["special"]
    form = {"grant_type": "password", "username": key.id, "password": SECRET_WITH_EVERYTHING}

    assert claims(await guarded.ask("GET", "/token", key.basic))["sub"] == "special"
    assert claims(await guarded.ask("POST", "/token", headers=FORM, body=urlencode(form).encode()))["sub"] == "special"


WRONG: dict[str, Callable[[Key], str]] = {
    "a wrong secret": lambda key: basic(key.id, key.secret[:-1] + "!"),
    "a part of the secret": lambda key: basic(key.id, key.secret[:-1]),
    "an empty secret": lambda key: basic(key.id, ""),
    "no key id (an identity token)": lambda key: basic("", key.secret),
    "an unknown key": lambda key: basic("SWUNKNOWN", key.secret),
    "a key id in another case": lambda key: basic(key.id.lower(), key.secret),
    "what is no key id": lambda key: basic("a\0b", key.secret),
    "no colon": lambda _: "Basic " + base64.b64encode(b"hello").decode(),
    "no base64": lambda _: "Basic !!!",
    "no UTF-8": lambda _: "Basic " + base64.b64encode(b"\xff:\xfe").decode(),
    "nothing behind the scheme": lambda _: "Basic",
    "another scheme": lambda key: f"Bearer {key.secret}",
}


@pytest.mark.parametrize("case", WRONG)
async def test_wrong_credentials_are_never_taken_for_none(guarded: Guarded, case: str) -> None:
    """401 is what makes a login fail; the answer does not tell what was wrong, nor repeats it."""
    key = guarded.keys["viewer"]

    answer = await guarded.ask("GET", f"/token?scope={PULL}", WRONG[case](key))

    assert answer.status == 401
    assert answer.codes() == ["UNAUTHORIZED"]
    assert answer["WWW-Authenticate"] == 'Basic realm="slipway"'
    assert key.secret.encode() not in answer.body
    if ":" in case:
        assert key.id.encode() not in answer.body


async def test_unknown_and_unusable_keys_look_like_wrong_secrets(guarded: Guarded) -> None:
    """Nobody learns which keys there are."""
    answers = [
        await guarded.ask("GET", "/token", basic(access_key_id, "wrong"))
        for access_key_id in (guarded.keys["viewer"].id, "SWUNKNOWN", "")
    ]

    assert len({(answer.status, answer.body) for answer in answers}) == 1


# --- other parameters ----------------------------------------------------------------------------

IGNORED = [
    "account=somebody-else",
    "client_id=docker&offline_token=true",
    "client_id=containerd-client",
    "service=",
    "unknown=parameter",
]


@pytest.mark.parametrize("query", IGNORED)
async def test_what_changes_nothing(guarded: Guarded, query: str) -> None:
    """Hints of clients; nothing that lives long is issued for the asking."""
    answer = await guarded.ask("GET", f"/token?{query}&scope={PULL}", guarded.keys["viewer"].basic)

    check_issued(answer)
    assert claims(answer)["sub"] == "viewer"
    assert granted(answer) == {f"repository:{SHELF}": ["pull"]}


@pytest.mark.parametrize("service", ["other.example", "b" * 32])
async def test_a_token_for_others_is_not_issued(guarded: Guarded, service: str) -> None:
    """By neither way."""
    key = guarded.keys["viewer"]
    form = {"grant_type": "password", "username": key.id, "password": key.secret, "service": service}

    assert (await guarded.ask("GET", f"/token?service={service}", key.basic)).status == 400
    assert (await guarded.ask("POST", "/token", headers=FORM, body=urlencode(form).encode())).status == 400


# --- POST ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content_type", ["application/x-www-form-urlencoded", "application/x-www-form-urlencoded; charset=utf-8"]
)
async def test_a_password_grant(guarded: Guarded, content_type: str) -> None:
    """As containerd and BuildKit send it; the answer says what was granted."""
    key = guarded.keys["viewer"]
    form = [
        ("grant_type", "password"),
        ("service", guarded.service),
        ("client_id", "containerd-client"),
        ("username", key.id),
        ("password", key.secret),
        ("scope", f"{ALL} repository:b:pull"),
        ("scope", "repository:c:push"),
        ("access_type", "offline"),
    ]

    answer = await guarded.ask(
        "POST", "/token", headers=[("Content-Type", content_type)], body=urlencode(form).encode()
    )

    check_issued(answer)
    assert granted(answer) == {f"repository:{SHELF}": ["pull"], "repository:b": ["pull"], "repository:c": []}
    assert answer.json()["scope"] == f"repository:{SHELF}:pull repository:b:pull repository:c:"


REFUSED: dict[str, tuple[dict[str, str], int, str]] = {
    "an identity token": ({"grant_type": "refresh_token", "refresh_token": "x"}, 400, "unsupported_grant_type"),
    "another grant": ({"grant_type": "client_credentials"}, 400, "unsupported_grant_type"),
    "no grant": ({"username": "a", "password": "b"}, 400, "invalid_request"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_other_grants_send_clients_to_get(guarded: Guarded, case: str) -> None:
    """With the status that they fall back upon."""
    form, status, error = REFUSED[case]

    answer = await guarded.ask("POST", "/token", headers=FORM, body=urlencode(form).encode())

    assert answer.status == status
    assert answer.json() == {"error": error}


@pytest.mark.parametrize("form", [{"username": "SWUNKNOWN", "password": "x"}, {"username": "", "password": ""}, {}])
async def test_wrong_passwords_are_401(guarded: Guarded, form: dict[str, str]) -> None:
    """Never 403, never an anonymous token."""
    body = urlencode({"grant_type": "password", **form}).encode()

    answer = await guarded.ask("POST", "/token", headers=FORM, body=body)

    assert (answer.status, answer.codes()) == (401, ["UNAUTHORIZED"])


@pytest.mark.parametrize("body", [b"grant_type=%ff&x=\xff", b"a" * (64 * 1024 + 1)], ids=["no text", "too large"])
async def test_what_is_no_form(guarded: Guarded, body: bytes) -> None:
    """It is the client's fault."""
    assert (await guarded.ask("POST", "/token", headers=FORM, body=body)).status == 400


@pytest.mark.parametrize("method", ["PUT", "DELETE", "HEAD", "PATCH"])
async def test_other_methods(guarded: Guarded, method: str) -> None:
    """There are two."""
    answer = await guarded.ask(method, "/token")

    assert (answer.status, answer["Allow"]) == (405, "GET, POST")


# --- login ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["root", "viewer", "nobody", "robot"])
async def test_login(guarded: Guarded, who: str) -> None:
    """The three requests of docker login; it succeeds for every key that may be used, whatever it may do."""
    first = await guarded.ask("GET", "/v2/")
    assert (first.status, first.all("WWW-Authenticate")) == (401, [guarded.challenge()])

    token = await guarded.ask(
        "GET",
        f"/token?account={guarded.keys[who].id}&client_id=docker&offline_token=true&service={guarded.service}",
        guarded.keys[who].basic,
    )
    check_issued(token)

    assert (await guarded.ask("GET", "/v2/", f"Bearer {token.json()['token']}")).status == 200


async def test_an_open_registry_issues_nothing(registry: Any) -> None:
    """Nobody needs a token there, and none is promised."""
    open_to_all = Guarded(registry, "", "", {})

    assert (await open_to_all.ask("GET", "/v2/")).status == 200
    assert (await open_to_all.ask("GET", "/token")).status == 404
