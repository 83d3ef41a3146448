"""Protocol 1.10: what refers to a manifest."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from .content import (
    EMPTY_JSON,
    IMAGE,
    JSON,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    SECOND,
    artifact,
    descriptor,
    image,
    index,
    sha256,
    sha512,
)
from .rows import Case, Names, Step, blob, manifest, play, pushed, row, story, table
from .wire import Address, Answer, ask

if TYPE_CHECKING:
    from collections.abc import Callable

SBOM = "application/spdx+json"
SIGNATURE = "application/vnd.example.signature"
_EMPTY_INDEX = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}

ONE_SBOM = artifact(IMAGE, SBOM, "one")
TWO_SBOM = artifact(IMAGE, SBOM, "two")
ONE_SIGNATURE = artifact(IMAGE, SIGNATURE, "three")
BY_CONFIG = image("four", subject=descriptor(IMAGE, OCI_MANIFEST))
UNTYPED_INDEX = index(IMAGE, subject=descriptor(IMAGE, OCI_MANIFEST), annotations={"note": "five", "more": "한글"})
TYPED_INDEX = index(SECOND, subject=descriptor(IMAGE, OCI_MANIFEST), artifactType=SIGNATURE)
OF_ANOTHER = artifact(SECOND, SBOM, "of another")


def entry(content: bytes, media_type: str, artifact_type: str | None, annotations: dict[str, str] | None) -> JSON:
    """Describe a referrer as the list has to."""
    optional: dict[str, Any] = {"artifactType": artifact_type, "annotations": annotations}
    return descriptor(content, media_type, **{name: value for name, value in optional.items() if value is not None})


ENTRIES = {
    "sbom 1": entry(ONE_SBOM, OCI_MANIFEST, SBOM, {"note": "one"}),
    "sbom 2": entry(TWO_SBOM, OCI_MANIFEST, SBOM, {"note": "two"}),
    "signature": entry(ONE_SIGNATURE, OCI_MANIFEST, SIGNATURE, {"note": "three"}),
    "by config": entry(BY_CONFIG, OCI_MANIFEST, OCI_CONFIG, {"note": "four"}),
    "index": entry(UNTYPED_INDEX, OCI_INDEX, None, {"note": "five", "more": "한글"}),
    "typed index": entry(TYPED_INDEX, OCI_INDEX, SIGNATURE, None),
}


def lists(*wanted: str) -> Callable[[Answer], None]:
    """Expect an index of exactly these referrers, in any order, each once."""

    def check(answer: Answer) -> None:
        assert answer["Content-Type"] == OCI_INDEX, str(answer)
        document = answer.json()
        assert {name: document[name] for name in ("schemaVersion", "mediaType")} == {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
        }
        found = sorted((_tidy(item) for item in document["manifests"]), key=str)
        assert found == sorted((ENTRIES[name] for name in wanted), key=str), str(answer)

    return check


def _tidy(item: JSON) -> JSON:
    """Drop annotations that are empty: an entry may have none in either way."""
    return {name: value for name, value in item.items() if not (name == "annotations" and not value)}


_PATH = "/v2/{refs}/referrers/{image}"
_ALL = tuple(ENTRIES)
_SBOMS, _SIGNATURES = ("sbom 1", "sbom 2"), ("signature", "typed index")
_APPLIED = {"OCI-Filters-Applied": "artifactType", "Content-Type": OCI_INDEX}
_NOT_APPLIED = {"OCI-Filters-Applied": None, "Content-Type": OCI_INDEX}

LISTS = [
    row(
        "1.10 every referrer once, with type, size, artifactType and annotations",
        "GET",
        _PATH,
        200,
        has=_NOT_APPLIED,
        check=lists(*_ALL),
    ),
    row(
        "1.10 filter by artifactType",
        "GET",
        f"{_PATH}?artifactType={SBOM.replace('+', '%2B')}",
        200,
        has=_APPLIED,
        check=lists(*_SBOMS),
    ),
    row(
        "1.10 filter by another",
        "GET",
        f"{_PATH}?artifactType={SIGNATURE}",
        200,
        has=_APPLIED,
        check=lists(*_SIGNATURES),
    ),
    row(
        "1.10 filter by a config's type",
        "GET",
        f"{_PATH}?artifactType={OCI_CONFIG.replace('+', '%2B')}",
        200,
        has=_APPLIED,
        check=lists("by config"),
    ),
    row(
        "1.10 filter that matches nothing", "GET", f"{_PATH}?artifactType=a/b", 200, has=_APPLIED, json_is=_EMPTY_INDEX
    ),
    row(
        "1.10 a filter is exact: no prefix",
        "GET",
        f"{_PATH}?artifactType=application/spdx",
        200,
        has=_APPLIED,
        json_is=_EMPTY_INDEX,
    ),
    row(
        "1.10 a filter is exact: case",
        "GET",
        f"{_PATH}?artifactType={SIGNATURE.upper()}",
        200,
        has=_APPLIED,
        json_is=_EMPTY_INDEX,
    ),
    row(
        "5.40 artifactType twice is the union",
        "GET",
        f"{_PATH}?artifactType={SBOM.replace('+', '%2B')}&artifactType={SIGNATURE}",
        200,
        has=_APPLIED,
        check=lists(*_SBOMS, *_SIGNATURES),
    ),
    row(
        "1.10 an empty artifactType is no filter",
        "GET",
        f"{_PATH}?artifactType=",
        200,
        has=_NOT_APPLIED,
        check=lists(*_ALL),
    ),
    row(
        "1.2 n= of oras is ignored", "GET", f"{_PATH}?n=1", 200, has={**_NOT_APPLIED, "Link": None}, check=lists(*_ALL)
    ),
    row("1.10 Accept does not matter", "GET", _PATH, 200, headers={"Accept": "text/html"}, check=lists(*_ALL)),
]

NONE = [
    *(
        row(
            f"1.10 referrers of {what}: 200 and an empty index",
            "GET",
            path,
            200,
            has=_NOT_APPLIED,
            json_is=_EMPTY_INDEX,
        )
        for what, path in [
            ("an unknown digest", "/v2/{shelf}/referrers/{missing}"),
            ("an unknown repository", "/v2/no/such/referrers/{image}"),
            ("oras's ping, all zeros", "/v2/no/such/referrers/sha256:" + "0" * 64),
            ("an unknown sha512 digest", "/v2/{shelf}/referrers/" + sha512(b"x")),
            ("a manifest without any", "/v2/{shelf}/referrers/{image}"),
            ("a blob", "/v2/{shelf}/referrers/{layer}"),
        ]
    ),
    row(
        "1.10 the filter is confirmed even there",
        "GET",
        "/v2/no/such/referrers/{image}?artifactType=a/b",
        200,
        has=_APPLIED,
        json_is=_EMPTY_INDEX,
    ),
    *(
        row(
            f"5.40 referrers of {digest[:20]} is 400",
            "GET",
            f"/v2/{{shelf}}/referrers/{digest}",
            400,
            code="DIGEST_INVALID",
        )
        for digest in (
            "foo",
            "latest",
            "sha256:short",
            "sha256:" + "A" * 64,
            "SHA256:" + "a" * 64,
            "sha256:" + "a" * 63,
            "sha256:" + "a" * 64 + "%0A",
        )
    ),
    row(
        "1.10 an algorithm that is not supported",
        "GET",
        "/v2/{shelf}/referrers/md5:" + "a" * 32,
        (400, 200),
        code="DIGEST_INVALID",
    ),
    row("1.10 no digest", "GET", "/v2/{shelf}/referrers/", (400, 404)),
]


def _count(number: int) -> Callable[[Answer], None]:
    def check(answer: Answer) -> None:
        assert len(answer.json()["manifests"]) == number, str(answer)

    return check


def _referrers(number: int, digest: str = "{image}") -> Step:
    return Step("GET", f"/v2/{{repo}}/referrers/{digest}", 200, check=_count(number))


CHANGES = [
    story(
        "1.10 a referrer is listed as soon as it is pushed, its subject may come later or never",
        *blob(EMPTY_JSON),
        _referrers(0),
        manifest(sha256(ONE_SBOM), ONE_SBOM),
        _referrers(1),
        *pushed("v1"),
        _referrers(1),
        manifest("sig", ONE_SIGNATURE),
        _referrers(2),
        manifest("sig2", ONE_SIGNATURE),
        manifest(sha256(ONE_SIGNATURE), ONE_SIGNATURE),
        _referrers(2),
    ),
    story(
        "1.10 a deleted referrer leaves the list at once (5 extra e)",
        *blob(EMPTY_JSON),
        manifest(sha256(ONE_SBOM), ONE_SBOM),
        manifest(sha256(TWO_SBOM), TWO_SBOM),
        Step("DELETE", "/v2/{repo}/manifests/" + sha256(ONE_SBOM), 202),
        _referrers(1),
        manifest(sha256(ONE_SBOM), ONE_SBOM),
        _referrers(2),
    ),
    story(
        "1.10 referrers of a deleted subject stay listed",
        *pushed("v1"),
        *blob(EMPTY_JSON),
        manifest("sig", ONE_SBOM),
        Step("DELETE", "/v2/{repo}/manifests/{image}", 202),
        _referrers(1),
    ),
    story(
        "1.10 only this repository's referrers",
        *blob(EMPTY_JSON, "{repo}/two"),
        manifest("sig", ONE_SBOM, repo="{repo}/two"),
        _referrers(0),
    ),
    story(
        "1.10 a deleted tag of a referrer does not take it off the list",
        *blob(EMPTY_JSON),
        manifest("sig", ONE_SBOM),
        Step("DELETE", "/v2/{repo}/manifests/sig", 202),
        _referrers(1),
    ),
    story(
        "1.10 a referrer of a referrer",
        *blob(EMPTY_JSON),
        manifest("a", ONE_SBOM),
        manifest("b", artifact(ONE_SBOM, SIGNATURE)),
        _referrers(1),
        _referrers(1, sha256(ONE_SBOM)),
    ),
    story(
        "1.10 a subject by sha512 is another subject",
        *pushed(),
        manifest("a", image(subject=descriptor(IMAGE, OCI_MANIFEST) | {"digest": sha512(IMAGE)})),
        _referrers(0),
        _referrers(1, "{image512}"),
    ),
    story(
        "1.10 the fallback tag is an ordinary tag",
        *pushed("v1"),
        manifest("sha256-" + sha256(IMAGE)[7:], index(IMAGE), OCI_INDEX),
        _referrers(0),
        Step("GET", "/v2/{repo}/manifests/sha256-" + sha256(IMAGE)[7:], 200, body_is=index(IMAGE)),
    ),
]


@pytest.fixture(scope="module")
def referred(registry: Address, shelf: Names) -> Names:
    """The placeholders, with a repository of an image and all its referrers as ``{refs}``."""
    names = {**shelf, "refs": "referrers/six"}
    steps = [
        *pushed("v1", repo="{refs}"),
        *blob(EMPTY_JSON, "{refs}"),
        manifest("v2", SECOND, repo="{refs}"),
        *(
            manifest(sha256(each), each, repo="{refs}")
            for each in (ONE_SBOM, TWO_SBOM, ONE_SIGNATURE, BY_CONFIG, OF_ANOTHER)
        ),
        *(manifest(sha256(each), each, OCI_INDEX, repo="{refs}") for each in (UNTYPED_INDEX, TYPED_INDEX)),
    ]
    asyncio.run(play(registry, names, story("1.10 given", *steps)))
    return names


@table(*LISTS)
async def test_list(registry: Address, referred: Names, case: Case) -> None:
    """The list has every referrer once, filtered as asked, and says whether it filtered."""
    await play(registry, referred, case)


@table(*NONE)
async def test_none(registry: Address, names: Names, case: Case) -> None:
    """Whatever digest is well formed has a list, even where nothing exists."""
    await play(registry, names, case)


@table(*CHANGES)
async def test_change(registry: Address, names: Names, case: Case) -> None:
    """The list says what is there now."""
    await play(registry, names, case)


async def test_large_list(registry: Address, names: Names) -> None:
    """More referrers than 4 MiB of descriptors hold are paged with Link, and none is lost or repeated (1.10)."""
    repo = names["repo"]
    await play(registry, names, story("1.10 given", *blob(EMPTY_JSON)))
    large = [artifact(IMAGE, SBOM, f"{number} " + "x" * 500_000) for number in range(10)]
    for each in large:
        await play(registry, names, story("1.10 given", manifest(sha256(each), each)))

    target: str | None = f"/v2/{repo}/referrers/{sha256(IMAGE)}"
    found: list[str] = []
    for _ in range(20):
        if target is None:
            break
        answer = await ask(registry, "GET", target)
        assert (answer.status, answer["Content-Type"]) == (200, OCI_INDEX)
        found += [item["digest"] for item in answer.json()["manifests"]]
        link = answer.get("Link")
        target = link[1 : link.index(">")] if link else None
    assert sorted(found) == sorted(map(sha256, large))
