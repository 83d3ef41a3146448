"""The protocol as data: a case is one request, or a short story of requests, with what must come back.

Paths, header values and expected values may hold placeholders:

``{repo}``      a repository that no other test uses; nothing is in it at first
``{shelf}``     a repository with the content of content.py, which all tests share and none changes
``{other}``     another shared repository; it holds one blob, ``{elsewhere}``, that ``{shelf}`` does not
``{location}``  the upload address that the last answer gave
``{first}``     the upload address that the first answer of the story gave
``{blob}`` …    digests of the contents in content.py
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from .content import (
    BLOB,
    CONFIG,
    DOCKER_IMAGE,
    EMPTY_JSON,
    IMAGE,
    INDEX,
    LAYER,
    NEVER_PUSHED,
    OCI_MANIFEST,
    SECOND,
    sha256,
    sha512,
)
from .wire import Address, Answer, Body, ask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

ELSEWHERE = b"a blob of the other repository"

DIGESTS = {
    "blob": sha256(BLOB),
    "blob512": sha512(BLOB),
    "layer": sha256(LAYER),
    "config": sha256(CONFIG),
    "empty": sha256(b""),
    "empty512": sha512(b""),
    "emptyjson": sha256(EMPTY_JSON),
    "elsewhere": sha256(ELSEWHERE),
    "missing": NEVER_PUSHED,
    "image": sha256(IMAGE),
    "image512": sha512(IMAGE),
    "docker": sha256(DOCKER_IMAGE),
    "second": sha256(SECOND),
    "index": sha256(INDEX),
}

Names = dict[str, str]
Expected = str | re.Pattern[str] | None


@dataclass(frozen=True, slots=True)
class Step:
    """One request and what must come back.

    Attributes:
        status: The status, or a tuple of statuses where the protocol allows several.
        has: Headers of the answer: an exact value, a pattern of the whole value, or None if it must be absent.
        code: The first error code of the body, or several where the protocol allows several.
        body_is: The exact body.
        json_is: The body as JSON.
        check: Whatever else a row has to say about the answer.

    """

    method: str
    path: str
    status: int | tuple[int, ...]
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = field(default_factory=dict)
    body: Body = b""
    has: Mapping[str, Expected] = field(default_factory=dict)
    code: str | tuple[str, ...] = ()
    body_is: bytes | None = None
    json_is: Any = None
    check: Callable[[Answer], None] | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """A sentence with its section of the protocol, and the steps that show it."""

    says: str
    steps: tuple[Step, ...]


def row(says: str, method: str, path: str, status: int | tuple[int, ...], **details: Any) -> Case:
    """State a case of a single request."""
    return Case(says, (Step(method, path, status, **details),))


def story(says: str, *steps: Step | Iterable[Step]) -> Case:
    """State a case of several requests, one after the other."""
    return Case(says, tuple(one for step in steps for one in ([step] if isinstance(step, Step) else step)))


def table(*cases: Case) -> pytest.MarkDecorator:
    """Run a test once for each case."""
    return pytest.mark.parametrize("case", cases, ids=[case.says for case in cases])


async def play(address: Address, names: Names, case: Case) -> None:
    """Send the requests of a case in turn and check each answer."""
    names = dict(names)
    for number, step in enumerate(case.steps, start=1):
        target = _target(step.path, names)
        headers = step.headers.items() if isinstance(step.headers, Mapping) else step.headers
        filled = [(name, fill(value, names)) for name, value in headers]
        answer = await ask(address, step.method, target, headers=filled, body=step.body)
        place = f"\n{case.says}\nstep {number}: {step.method} {target[:300]}"
        _check(step, answer, names, place)
        location = answer.get("Location")
        if location and "/blobs/uploads/" in location:
            names["location"] = location
            names.setdefault("first", location)


def fill(text: str, names: Names) -> str:
    """Replace placeholders; braces around other words stay as they are."""
    return re.sub(r"\{(\w+)\}", lambda match: names.get(match[1], match[0]), text)


def _target(path: str, names: Names) -> str:
    """Fill a path; an upload address may bring a query of its own, to which the row's is added."""
    target = fill(path, names)
    if not path.startswith(("{location}", "{first}")):
        return target
    address, question, query = target.partition("?")
    return address + question + query.replace("?", "&")


def _check(step: Step, answer: Answer, names: Names, place: str) -> None:
    allowed = step.status if isinstance(step.status, tuple) else (step.status,)
    assert answer.status in allowed, f"{place}\nexpected {step.status}, got {answer}"
    for name, expected in step.has.items():
        value = answer.get(name)
        wanted = fill(expected, names) if isinstance(expected, str) else expected
        same = wanted.fullmatch(value or "") if isinstance(wanted, re.Pattern) else value == wanted
        assert same, f"{place}\nexpected {name}: {wanted}, got {answer}"
    if step.code and answer.status >= 400 and step.method != "HEAD":
        assert answer.body, f"{place}\nexpected {step.code}, got no body in {answer}"
        codes = (step.code,) if isinstance(step.code, str) else step.code
        assert answer.codes()[0] in codes, f"{place}\nexpected {step.code}, got {answer}"
    if step.body_is is not None:
        assert answer.body == step.body_is, f"{place}\nanother body than expected: {answer}"
    if step.json_is is not None:
        assert answer.json() == _fill_json(step.json_is, names), f"{place}\nexpected {step.json_is}, got {answer}"
    if step.check is not None:
        step.check(answer)


def _fill_json(value: Any, names: Names) -> Any:
    if isinstance(value, dict):
        return {key: _fill_json(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill_json(item, names) for item in value]
    return fill(value, names) if isinstance(value, str) else value


# --- content that stories begin with -------------------------------------------------------------


def start(repo: str = "{repo}") -> Step:
    """Open an upload session."""
    return Step("POST", f"/v2/{repo}/blobs/uploads/", 202)


def blob(content: bytes, repo: str = "{repo}", digest: str | None = None) -> list[Step]:
    """Push a blob in the plainest way: POST, then PUT with all bytes."""
    return [start(repo), Step("PUT", f"{{location}}?digest={digest or sha256(content)}", 201, body=content)]


def manifest(reference: str, content: bytes = IMAGE, media_type: str = OCI_MANIFEST, repo: str = "{repo}") -> Step:
    """Push a manifest whose blobs are there already."""
    return Step("PUT", f"/v2/{repo}/manifests/{reference}", 201, headers={"Content-Type": media_type}, body=content)


def pushed(*references: str, content: bytes = IMAGE, repo: str = "{repo}") -> list[Step]:
    """Push the blobs of an image, then its manifest under each reference."""
    return [*blob(CONFIG, repo), *blob(LAYER, repo), *(manifest(name, content, repo=repo) for name in references)]
