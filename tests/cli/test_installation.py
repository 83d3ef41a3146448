"""The commands on a real installation: on the machine itself, and through its server."""

from __future__ import annotations

import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from cli.registry import eventually, run, started
from support.folders import open_folder

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

ROOT = "SWROOTROOTROOTROOT00"
SECRET = "slw_0123456789012345678901234567890123456789"


@dataclass
class Installation:
    """A data directory, and the address of the server that works on it."""

    data_dir: Path
    url: str

    def here(self, *arguments: str, code: int = 0) -> Any:
        """Run a command on the data directory, and return the JSON that it prints."""
        return _printed(run(*arguments, "--json", "--data-dir", str(self.data_dir)), code)

    def there(self, *arguments: str, key: str = ROOT, secret: str = SECRET, code: int = 0) -> Any:
        """Run a command against the server, and return the JSON that it prints."""
        environment = {"SLIPWAY_URL": self.url, "SLIPWAY_ACCESS_KEY_ID": key, "SLIPWAY_SECRET_KEY": secret}
        return _printed(run(*arguments, "--json", **environment), code)


def _printed(ended: subprocess.CompletedProcess[str], code: int) -> Any:
    assert ended.returncode == code, ended.stderr
    return orjson.loads(ended.stdout) if code == 0 else ended.stderr


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    """An installation that two workers serve."""
    chosen = {"SLIPWAY_ROOT_ACCESS_KEY_ID": ROOT, "SLIPWAY_ROOT_SECRET_KEY": SECRET}
    with open_folder() as folder, started(folder / "data", "--workers", "2", **chosen) as (registry, _):
        yield Installation(folder / "data", f"http://127.0.0.1:{registry.port}")


def test_accounts_are_the_same_here_and_there(installation: Installation) -> None:
    """What one way changes, the other one shows."""
    installation.here("account", "create", "here")
    installation.there("account", "create", "there")

    names = [each["name"] for each in installation.here("account", "list")]
    assert {"here", "there", "root"} <= set(names)
    assert [each["name"] for each in installation.there("account", "list")] == names


@pytest.mark.parametrize("option", ["--public-delivery=redirect", "--delivery-rules=10.0.0.0/8=redirect-public"])
def test_a_redirect_to_files_is_refused_here_and_there(installation: Installation, option: str) -> None:
    """With what to choose instead."""
    for ask in (installation.here, installation.there):
        said = ask("registry", "update", "default", option, code=1)
        assert "choose proxy" in " ".join(said.split())
    assert installation.here("registry", "show", "default")["public_delivery"] is None


def test_a_key_that_is_made_here_works_there_at_once(installation: Installation) -> None:
    """Rights are those of the account, and end with the key, in every worker within seconds."""
    installation.here("account", "create", "guest")
    made = installation.here("key", "create", "guest", "--note", "laptop")
    guest = {"key": made["access_key_id"], "secret": made["secret_key"]}

    assert installation.there("registry", "list", **guest) == []
    assert "there is no registry default" in installation.there("registry", "show", "default", code=1, **guest)
    installation.here("policy", "grant", "guest", "viewer", "--registry", "default")
    eventually(lambda: installation.there("registry", "list", **guest) != [], "the policy to hold")
    assert "a manager of the registry" in installation.there(
        "registry", "update", "default", "--public-pull", "on", code=1, **guest
    )
    assert "a manager of all registries" in installation.there("account", "create", "more", code=1, **guest)
    assert [each["note"] for each in installation.there("key", "list", **guest)] == ["laptop"]

    installation.there("key", "update", made["access_key_id"], "--disable")
    eventually(lambda: _is_refused(installation, **guest), "the key to end")


def test_a_secret_is_rotated(installation: Installation) -> None:
    """Both secrets work during the changeover."""
    installation.here("account", "create", "rotating")
    old = installation.there("key", "create", "rotating")
    new = installation.there("key", "rotate", old["access_key_id"], "--keep-old", "60")

    assert old["secret_key"] != new["secret_key"]
    for each in (old, new):
        assert installation.there("key", "list", key=old["access_key_id"], secret=each["secret_key"])


def test_the_log_says_who_and_from_where(installation: Installation) -> None:
    """The command line on the machine is ``local``; through the server it is the account and its address."""
    installation.here("account", "create", "logged-here")
    installation.there("account", "create", "logged-there")

    lines = {each["object"]: each for each in installation.there("audit", "--action", "account.create")}
    here, there = lines["logged-here"], lines["logged-there"]
    assert (here["account"], here["access_key_id"], here["address"]) == ("local", None, None)
    assert (there["account"], there["access_key_id"], there["address"]) == ("root", ROOT, "127.0.0.1")


def test_a_wrong_secret_is_refused_and_logged(installation: Installation) -> None:
    """The refusal does not say whether the key exists."""
    wrong = installation.there("account", "list", secret="slw_wrong", code=1)
    unknown = installation.there("account", "list", key="SWNOBODY", code=1)
    assert wrong == unknown


@pytest.mark.parametrize("path", ["/api/accounts", "/api/openapi.json"])
def test_the_server_answers_like_an_api(installation: Installation, path: str) -> None:
    """Without credentials there is the document, and nothing else."""
    try:
        with urllib.request.urlopen(installation.url + path) as answer:
            status, headers = answer.status, answer.headers
    except urllib.error.HTTPError as error:
        with error:
            status, headers = error.code, error.headers

    assert status == (401 if path == "/api/accounts" else 200)
    assert headers["Content-Type"] == ("application/problem+json" if status == 401 else "application/json")
    assert headers["X-Request-Id"]


def _is_refused(installation: Installation, *, key: str, secret: str) -> bool:
    environment = {"SLIPWAY_URL": installation.url, "SLIPWAY_ACCESS_KEY_ID": key, "SLIPWAY_SECRET_KEY": secret}
    return run("key", "list", **environment).returncode == 1
