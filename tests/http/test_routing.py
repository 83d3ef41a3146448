"""Protocol 1.1 and 1.2, edge cases 5 to 12: which address means what, and which names are names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .content import EMPTY_JSON, IMAGE, OCI_MANIFEST, noise
from .rows import Case, Names, Step, blob, manifest, play, pushed, row, start, story, table
from .wire import ask

if TYPE_CHECKING:
    from .wire import Address

WORDS = [
    story(
        f"1.2 a repository named {name} is fully usable (5.11)",
        *pushed("c", repo=f"{{repo}}/{name}"),
        Step("GET", f"/v2/{{repo}}/{name}/manifests/c", 200, body_is=IMAGE),
        Step("HEAD", f"/v2/{{repo}}/{name}/blobs/{{layer}}", 200, has={"Content-Length": "1000"}),
        Step("GET", f"/v2/{{repo}}/{name}/tags/list", 200, json_is={"name": f"{{repo}}/{name}", "tags": ["c"]}),
        Step("GET", f"/v2/{{repo}}/{name}/referrers/{{image}}", 200),
        start(f"{{repo}}/{name}"),
        Step("GET", "{location}", 204),
        Step("DELETE", "{location}", 204),
        Step("DELETE", f"/v2/{{repo}}/{name}/manifests/c", 202),
        Step("GET", "/v2/{repo}/tags/list", 404, code="NAME_UNKNOWN"),
    )
    for name in (
        "manifests/b",
        "blobs/uploads",
        "blobs/uploads/x",
        "blobs",
        "tags/list/y",
        "tags/list",
        "tags",
        "referrers/r",
        "uploads",
        "manifests",
        "v2/v2",
    )
]

SLASHES = [
    row("5.7 an empty component", "GET", "/v2//foo/manifests/x", (404, 400)),
    row("5.7 an empty component in the middle", "GET", "/v2/foo//bar/manifests/x", (404, 400)),
    row("5.7 a doubled slash before a known word", "GET", "/v2/{shelf}//manifests/latest", (404, 400)),
    row("5.7 a doubled slash before the tag", "GET", "/v2/{shelf}/manifests//latest", (404, 400)),
    row("5.7 a doubled slash at the beginning", "GET", "//v2/", (404, 400)),
    row("5.7 a doubled slash at the end", "GET", "/v2//", (404, 400)),
    row("5.9 a slash after a tag list", "GET", "/v2/{shelf}/tags/list/", 404),
    row("5.9 a slash after a tag", "GET", "/v2/{shelf}/manifests/latest/", 404),
    row("5.9 a slash after a digest", "GET", "/v2/{shelf}/blobs/{blob}/", 404),
    row("5.9 a slash after referrers", "GET", "/v2/{shelf}/referrers/{image}/", 404),
    row("5.9 a slash after the catalogue", "GET", "/v2/_catalog/", 404),
    row("5.9 two slashes after uploads", "POST", "/v2/{repo}/blobs/uploads//", (404, 400)),
    row("5.9 POST uploads without a slash works", "POST", "/v2/{repo}/blobs/uploads", 202, has={"Range": "0-0"}),
    row("5.9 the same with a query", "POST", "/v2/{repo}/blobs/uploads?digest-algorithm=sha256", 202),
    row("1.2 only a name is nothing", "GET", "/v2/{shelf}", 404),
    row("1.2 a name and a slash is nothing", "GET", "/v2/{shelf}/", 404),
    row("1.2 manifests without a reference", "GET", "/v2/{shelf}/manifests/", 404),
    row("1.2 blobs without a digest", "GET", "/v2/{shelf}/blobs/", 404),
    row("1.2 an unknown word", "GET", "/v2/{shelf}/layers/{blob}", 404),
    row("1.2 a manifest of no repository", "GET", "/v2/manifests/latest", 404),
    row("5.8 the prefix is lower case", "GET", "/V2/{shelf}/manifests/latest", 404),
    row("1.2 there is no version 1", "GET", "/v1/_ping", 404),
    row("1.2 a longer prefix", "GET", "/v2x/", 404),
    row("1.2 nothing at the root that is an image", "GET", "/{shelf}/manifests/latest", 404),
]

DOTS = [
    row("5.5 dots that climb out", "GET", "/v2/../../etc/passwd/manifests/x", (404, 400)),
    row("5.5 escaped dots", "GET", "/v2/%2e%2e/%2e%2e/etc/passwd/manifests/x", (404, 400)),
    row("5.5 escaped dots and slashes", "GET", "/v2/..%2f..%2fetc/passwd/manifests/x", (404, 400)),
    row("5.5 dots within a name", "GET", "/v2/a/../b/tags/list", (404, 400)),
    row("5.5 dots that would lead to a repository", "GET", "/v2/nothing/../{shelf}/tags/list", (404, 400)),
    row("5.5 dots that would lead to a manifest", "GET", "/v2/{shelf}/x/../manifests/latest", (404, 400)),
    row("5.5 escaped dots that would lead to a manifest", "GET", "/v2/{shelf}/x/%2e%2e/manifests/latest", (404, 400)),
    row("5.5 one dot", "GET", "/v2/./{shelf}/tags/list", (404, 400)),
    row("5.5 one dot before the tag", "GET", "/v2/{shelf}/manifests/./latest", (404, 400)),
    row("5.5 dots as a tag", "GET", "/v2/{shelf}/manifests/..", (404, 400)),
    row("5.5 escaped dots as a tag", "PUT", "/v2/{shelf}/manifests/%2e%2e", (404, 400), body=IMAGE),
    row("5.5 dots as a digest", "GET", "/v2/{shelf}/blobs/..%2f..%2fetc%2fpasswd", (404, 400)),
    row("5.5 dots in the repository of a push", "POST", "/v2/../../tmp/x/blobs/uploads/", (404, 400)),
    row("5.12 a name that is not UTF-8", "GET", "/v2/a%ff/manifests/x", (404, 400)),
    row("5.12 a push to such a name", "POST", "/v2/a%ff/blobs/uploads/", (404, 400)),
    row("5.5 backslashes", "GET", "/v2/..%5c..%5cetc/manifests/x", (404, 400)),
]

ESCAPES = [
    row("5.10 %3A in the digest of a blob", "GET", "/v2/{shelf}/blobs/sha256%3A{hex}", 200),
    row("5.10 %3a in lower case", "HEAD", "/v2/{shelf}/blobs/sha256%3a{hex}", 200, has={"Content-Length": "2048"}),
    row("5.10 %3A in the digest of a manifest", "GET", "/v2/{shelf}/manifests/sha256%3A{imagehex}", 200),
    row("5.10 %3A in the digest of referrers", "GET", "/v2/{shelf}/referrers/sha256%3A{imagehex}", 200),
    row("5.10 %2F in a name is a slash", "GET", "/v2/shelf%2Fmain/manifests/latest", 200, body_is=IMAGE),
    row("5.10 escaped letters", "GET", "/v2/%73helf/main/manifests/l%61test", 200, body_is=IMAGE),
    row("5.10 double escapes do not decode: name", "GET", "/v2/shelf%252Fmain/manifests/latest", (404, 400)),
    row("5.10 double escapes do not decode: digest", "GET", "/v2/{shelf}/blobs/sha256%253A{hex}", (404, 400)),
    row("5.10 a broken escape", "GET", "/v2/{shelf}/manifests/%zz", (404, 400)),
    row("5.10 an escape cut short", "GET", "/v2/{shelf}/manifests/latest%", (404, 400)),
    row("5.10 a plus is a plus in a path", "GET", "/v2/{shelf}/manifests/la+est", (404, 400)),
    row("5.10 an escaped question mark", "GET", "/v2/{shelf}/manifests/latest%3Fns=x", (404, 400)),
    row("5.10 a slash in a reference", "GET", "/v2/{shelf}/manifests/a%2Fb", (404, 400)),
    row("5.10 a name with %0A last", "GET", "/v2/{shelf}/manifests/latest%0A", (404, 400)),
    story(
        "5.10 %3A in the digest of a commit and of a delete",
        start(),
        Step("PUT", "{location}?digest=sha256%3A{emptyjsonhex}", 201, body=EMPTY_JSON),
        Step("DELETE", "/v2/{repo}/blobs/sha256%3A{emptyjsonhex}", 202),
        Step("HEAD", "/v2/{repo}/blobs/{emptyjson}", 404),
    ),
]

QUERIES = [
    row(f"1.2 ns= is accepted: {method} {path}", method, path + "?ns=docker.io", status, has={"OCI-Namespace": None})
    for method, path, status in [
        ("GET", "/v2/{shelf}/manifests/latest", 200),
        ("HEAD", "/v2/{shelf}/manifests/latest", 200),
        ("GET", "/v2/{shelf}/blobs/{blob}", 200),
        ("HEAD", "/v2/{shelf}/blobs/{blob}", 200),
        ("GET", "/v2/{shelf}/tags/list", 200),
        ("GET", "/v2/{shelf}/referrers/{image}", 200),
        ("GET", "/v2/_catalog", 200),
        ("POST", "/v2/{repo}/blobs/uploads/", 202),
    ]
]

PUSH_WITH_NS = [
    story(
        "1.2 containerd adds ns= to push requests too",
        Step("POST", "/v2/{repo}/blobs/uploads/?ns=example.com", 202),
        Step("PATCH", "{location}?ns=example.com", 202, body=b"{"),
        Step("GET", "{location}?ns=example.com", 204),
        Step("PUT", "{location}?digest={emptyjson}&ns=example.com", 201, body=b"}"),
        *pushed(),
        Step(
            "PUT",
            "/v2/{repo}/manifests/v1?ns=example.com",
            201,
            headers={"Content-Type": OCI_MANIFEST},
            body=IMAGE,
        ),
        Step("DELETE", "/v2/{repo}/manifests/v1?ns=example.com", 202),
        Step("DELETE", "/v2/{repo}/blobs/{emptyjson}?ns=example.com", 202),
    ),
]

LONGEST = "/".join(["abcdefghi"] * 25) + "/abcde"
BAD_NAMES = {
    "upper case": "Foo/bar",
    "upper case in the second component": "foo/Bar",
    "a hyphen first": "-a",
    "a hyphen last": "a-",
    "a dot first": ".a/b",
    "a dot last": "a.",
    "an underscore first": "_a/b",
    "two dots": "a..b",
    "three underscores": "a___b",
    "a dot and a hyphen": "a.-b",
    "a space": "a%20b",
    "a newline last": "foo%0A",
    "a newline first": "%0Afoo",
    "a carriage return": "foo%0Dbar",
    "NUL": "foo%00",
    "UTF-8": "caf%C3%A9",
    "an Arabic digit": "a%D9%A3",
    "a colon": "localhost:5000/foo",
    "a plus": "a+b",
    "256 characters": LONGEST + "f",
    "4,000 characters": "a" * 4000,
}
assert len(LONGEST) == 255

GOOD_NAMES = ["a", "0", "a--b", "a---b", "a__b", "a_b", "a.b", "a-b.c_d/e", "v2", LONGEST]

TAGS = [
    *(
        row(
            f"5.3 {method} of {what} is 404, not 400",
            method,
            f"/v2/{{shelf}}/manifests/{tag}",
            404,
            code="MANIFEST_UNKNOWN",
        )
        for method in ("GET", "HEAD")
        for what, tag in [
            (".INVALID_MANIFEST_NAME", ".INVALID_MANIFEST_NAME"),
            ("a tag of 129 characters", "t" * 129),
            ("a+b", "a+b"),
            ("an escaped plus", "a%2Bb"),
            ("-x", "-x"),
            ("a tag with UTF-8", "t%C3%A9"),
        ]
    ),
    *(
        row(
            f"5.3 PUT of {what} is 400",
            "PUT",
            f"/v2/{{shelf}}/manifests/{tag}",
            400,
            code="MANIFEST_INVALID",
            body=IMAGE,
        )
        for what, tag in [
            (".INVALID_MANIFEST_NAME", ".INVALID_MANIFEST_NAME"),
            ("a tag of 129 characters", "t" * 129),
            ("a+b", "a+b"),
            ("-x", "-x"),
            ("a tag with a newline last", "latest%0A"),
            ("a tag with NUL", "latest%00"),
        ]
    ),
    *(
        story(
            f"5.4 a tag may be {what}",
            *pushed(tag),
            Step("GET", f"/v2/{{repo}}/manifests/{tag}", 200, body_is=IMAGE),
            Step("GET", "/v2/{repo}/tags/list", 200, json_is={"name": "{repo}", "tags": [tag]}),
        )
        for what, tag in [
            ("128 characters long", "T" * 128),
            ("one underscore", "_"),
            ("a digit", "7"),
            ("of every kind of character", "_aZ0.9-x.."),
        ]
    ),
    story(
        "1.1 tags differ by case",
        *pushed("Latest"),
        Step("GET", "/v2/{repo}/manifests/Latest", 200),
        Step("GET", "/v2/{repo}/manifests/latest", 404, code="MANIFEST_UNKNOWN"),
    ),
    story(
        "1.1 a tag named like a word of the protocol",
        *pushed("list", "uploads", "manifests"),
        manifest("tags"),
        Step("GET", "/v2/{repo}/manifests/manifests", 200),
        Step(
            "GET",
            "/v2/{repo}/tags/list",
            200,
            json_is={"name": "{repo}", "tags": ["list", "manifests", "tags", "uploads"]},
        ),
    ),
]


@pytest.fixture
def names(names: Names) -> Names:
    """The placeholders, with the bare hexadecimal digits of some digests."""
    digits = {f"{name}hex": names[name].partition(":")[2] for name in ("image", "emptyjson")}
    return {**names, **digits, "hex": names["blob"].partition(":")[2]}


@table(*WORDS)
async def test_words_in_names(registry: Address, names: Names, case: Case) -> None:
    """Addresses are read from the right: a name may hold every word of the protocol."""
    await play(registry, names, case)


@table(*SLASHES, *DOTS, *ESCAPES)
async def test_addresses(registry: Address, names: Names, case: Case) -> None:
    """An address means exactly one thing: no redirect, no path that is tidied up, no double decoding."""
    await play(registry, names, case)


@table(*QUERIES, *PUSH_WITH_NS)
async def test_namespace_parameter(registry: Address, names: Names, case: Case) -> None:
    """The ns parameter of proxying clients is accepted everywhere and changes nothing."""
    await play(registry, names, case)


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES.keys())
async def test_bad_name(registry: Address, names: Names, name: str) -> None:
    """A name outside of the grammar is NAME_INVALID: 404 to whoever reads, 400 to whoever writes (5.8, 5.12)."""
    digest = names["missing"]
    reads = [f"manifests/{digest}", "manifests/latest", f"blobs/{digest}", "tags/list", f"referrers/{digest}"]
    for path in reads:
        answer = await ask(registry, "GET", f"/v2/{name}/{path}")
        assert (answer.status, answer.codes()) == (404, ["NAME_INVALID"]), path
        assert (await ask(registry, "HEAD", f"/v2/{name}/{path}")).status in {404, 405}, path
    headers = {"Content-Type": OCI_MANIFEST}
    for method, path, body in [
        ("POST", "blobs/uploads/", b""),
        ("POST", f"blobs/uploads/?mount={digest}&from=shelf/main", b""),
        ("PUT", "manifests/latest", IMAGE),
        ("PUT", f"manifests/{names['image']}", IMAGE),
        ("DELETE", "manifests/latest", b""),
        ("DELETE", f"blobs/{digest}", b""),
    ]:
        answer = await ask(registry, method, f"/v2/{name}/{path}", headers=headers, body=body)
        assert (answer.status, answer.codes()) == (400, ["NAME_INVALID"]), (method, path)


@pytest.mark.parametrize("name", GOOD_NAMES, ids=[name[:20] for name in GOOD_NAMES])
async def test_good_name(registry: Address, names: Names, name: str) -> None:
    """A name of the grammar of 1.1 takes a blob and gives it back, up to 255 characters."""
    content = noise(100, seed=9)
    steps = [*blob(content, name), Step("GET", f"/v2/{name}/tags/list", (200, 404), code="NAME_UNKNOWN")]
    await play(registry, names, Case(f"1.1 {name}", tuple(steps)))


@table(*TAGS)
async def test_tag_grammar(registry: Address, names: Names, case: Case) -> None:
    """An impossible tag is unknown to readers and invalid to writers; the rest of the grammar works."""
    await play(registry, names, case)
