"""``slipway serve`` as people start it: what it says, how it ends, and what it refuses."""

from __future__ import annotations

import signal
import socket
from typing import TYPE_CHECKING

import pytest

from cli.registry import LONGEST, postgres_processes, run, serving

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_and_stops_cleanly(data_dir: Path, stop: signal.Signals) -> None:
    """It answers once it has greeted, ends with exit code 0, and takes its database along."""
    with serving(data_dir) as registry:
        assert registry.request("GET", "/v2/").status == 200
        assert postgres_processes(data_dir)

        assert registry.stop(stop) == 0
    assert postgres_processes(data_dir) == []


def test_the_greeting_can_be_tried(data_dir: Path) -> None:
    """It prints the exact docker commands for this address."""
    with serving(data_dir) as registry:
        registry.process.terminate()
        assert registry.process.stdout is not None
        rest = registry.process.stdout.read()

    host = f"127.0.0.1:{registry.port}"
    assert f"docker push {host}/hello/alpine" in rest
    assert f"docker pull {host}/hello/alpine" in rest


def test_two_processes_share_a_data_directory(data_dir: Path) -> None:
    """The second process joins the first one's database; the last to leave stops it."""
    with serving(data_dir) as first, serving(data_dir) as second:
        assert first.stop() == 0
        assert second.request("GET", "/v2/_catalog").body == b'{"repositories":[]}'
        assert postgres_processes(data_dir)
        assert second.stop() == 0
    assert postgres_processes(data_dir) == []


def test_it_recovers_from_being_killed(data_dir: Path) -> None:
    """After SIGKILL the next start finds the database running or not, and goes on."""
    with serving(data_dir) as registry:
        registry.process.kill()
        registry.process.wait(LONGEST)
    with serving(data_dir) as registry:
        assert registry.request("GET", "/v2/_catalog").status == 200
        assert registry.stop() == 0
    assert postgres_processes(data_dir) == []


@pytest.mark.parametrize(
    ("arguments", "environment", "sentence"),
    [
        (["--open", "--listen", "0.0.0.0:5000"], {}, "refused"),
        (["--open"], {"SLIPWAY_STORAGE": "tape"}, "filesystem or s3"),
        (["--open"], {"SLIPWAY_NONSENSE": "1"}, "SLIPWAY_NONSENSE"),
        (["--open", "--config", "/does/not/exist"], {}, "cannot be read"),
        (
            ["--open", "--listen", "127.0.0.1:0"],
            {"SLIPWAY_DATABASE_URL": "postgresql://user:secret@127.0.0.1:1/none"},
            "cannot be reached",
        ),
        (["--open", "--listen", "127.0.0.1:0", "--data-dir", "/proc/nowhere"], {}, "/proc/nowhere"),
        (["--open"], {"OTEL_TRACES_EXPORTER": "zipkin"}, "Slipway sends traces by otlp, or none"),
    ],
)
def test_a_wrong_set_up_is_one_line(arguments: list[str], environment: dict[str, str], sentence: str) -> None:
    """What is wrong is said in one line on standard error, without secrets, and the exit code is 2."""
    ended = run("serve", *arguments, **environment)

    assert ended.returncode == 2
    assert ended.stderr.startswith("slipway: ")
    assert sentence in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert "secret" not in ended.stderr


def test_a_wrong_option_is_explained() -> None:
    """The command line's own mistakes end with exit code 2 as well."""
    ended = run("serve", "--listen", "nonsense")

    assert ended.returncode == 2
    assert "host:port" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_port_in_use_is_one_line(data_dir: Path) -> None:
    """A second start on one port says so, and touches nothing."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended = run("serve", "--open", "--listen", f"127.0.0.1:{port}", "--data-dir", str(data_dir))

    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "another program uses this port" in ended.stderr
    assert not data_dir.exists()


def test_a_bucket_that_does_not_exist_is_one_line(data_dir: Path) -> None:
    """S3 that cannot be reached is said in one line."""
    environment = {
        "SLIPWAY_STORAGE": "s3",
        "SLIPWAY_S3_BUCKET": "bucket",
        "SLIPWAY_S3_ENDPOINT_URL": "http://127.0.0.1:1",
        "SLIPWAY_S3_ACCESS_KEY_ID": "id",
        "SLIPWAY_S3_SECRET_ACCESS_KEY": "secret",
    }
    ended = run("serve", "--open", "--listen", "127.0.0.1:0", "--data-dir", str(data_dir), **environment)

    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "bucket" in ended.stderr
    assert postgres_processes(data_dir) == []


def test_the_version_is_told() -> None:
    """--version says what is installed."""
    assert run("--version").stdout.startswith("slipway, version ")
