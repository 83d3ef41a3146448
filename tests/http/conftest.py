"""One registry for the whole folder, on a free port of the loopback, with a real Postgres behind it."""

from __future__ import annotations

import asyncio
import itertools
import threading
from typing import TYPE_CHECKING, Any

import pytest

from gateway.config import Address as ListenAddress
from gateway.config import Settings
from gateway.services.fresh import Fresh
from support.postgres import new_database
from support.serving import in_the_background

from .accounts import Guarded, with_accounts
from .content import BLOB, EMPTY_JSON, INDEX, OCI_INDEX, SECOND
from .rows import DIGESTS, ELSEWHERE, Case, Names, blob, manifest, play, pushed
from .wire import Address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.databases import Server

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def registry(embedded_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """Address of the registry under test."""
    settings = Settings(
        listen=ListenAddress("127.0.0.1", 0),
        data_dir=tmp_path_factory.mktemp("registry"),
        database_url=new_database(embedded_server.dsn, "http"),
        open=True,
    )
    with in_the_background(settings) as server:
        yield Address(server.host, server.port)


@pytest.fixture(scope="session")
def guarded(embedded_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A registry with accounts."""
    url = new_database(embedded_server.dsn, "guarded")
    settings = Settings(
        listen=ListenAddress("127.0.0.1", 0), data_dir=tmp_path_factory.mktemp("guarded"), database_url=url
    )
    with pytest.MonkeyPatch.context() as patch, in_the_background(settings) as server:
        # So many wrong secrets come from here that waiting would be all that the tests do.
        patch.setattr("gateway.services.defence._LONGEST_DELAY", 0.0)
        heard, forget = threading.Event(), Fresh.forget

        def forget_and_tell(fresh: Fresh[Any, Any]) -> None:
            forget(fresh)
            heard.set()

        patch.setattr(Fresh, "forget", forget_and_tell)
        yield asyncio.run(with_accounts(server, url, heard))


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
    asyncio.run(play(registry, names, Case("the shared content", tuple(content))))
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
