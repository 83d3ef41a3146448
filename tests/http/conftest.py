"""One registry for the whole folder, on a free port of the loopback, with a real Postgres behind it."""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
from typing import TYPE_CHECKING

import pytest

from .content import BLOB, EMPTY_JSON, INDEX, OCI_INDEX, SECOND
from .rows import DIGESTS, ELSEWHERE, Case, Names, blob, manifest, play, pushed
from .wire import Address

if TYPE_CHECKING:
    from collections.abc import Iterator

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def registry() -> Address:
    """Address of the registry under test."""
    host, _, port = os.environ["REG"].partition(":")
    return Address(host, int(port))


@pytest.fixture(scope="session")
def shelf(registry: Address) -> Names:
    """Fill the shared repositories, and return the placeholders that every test may use."""
    names = {"shelf": "shelf/main", "other": "shelf/other", **DIGESTS}
    content = [
        *(step for each in (BLOB, b"", EMPTY_JSON) for step in blob(each, "{shelf}")),
        *blob(BLOB, "{shelf}", DIGESTS["blob512"]),
        *blob(ELSEWHERE, "{other}"),
        *pushed("latest", repo="{shelf}"),
        manifest(DIGESTS["second"], SECOND, repo="{shelf}"),
        manifest("multi", INDEX, OCI_INDEX, repo="{shelf}"),
    ]
    if "REG" in os.environ:
        content = [step for step in content if "sha512" not in step.path]
    failures: list[Exception] = []

    def fill() -> None:
        try:
            asyncio.run(play(registry, names, Case("the shared content", tuple(content))))
        except Exception as error:  # noqa: BLE001 - raised again below
            failures.append(error)

    thread = threading.Thread(target=fill)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return names


@pytest.fixture
def names(shelf: Names) -> Names:
    """The placeholders, with a repository name of this test's own as ``{repo}``."""
    return {**shelf, "repo": f"fresh/r{next(_numbers)}"}


@pytest.fixture
def repo(names: Names) -> str:
    """A repository name that no other test uses."""
    return names["repo"]


@pytest.fixture(autouse=True)
def nothing_logged_as_error(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No request of a client, however wrong, may leave an error or a traceback in the log."""
    yield
    errors = [record.getMessage() for record in caplog.get_records("call") if record.levelname in {"ERROR", "CRITICAL"}]
    assert not errors
