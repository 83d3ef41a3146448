"""Settings: where they come from, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import Address, Settings, load
from gateway.errors import ConfigurationError


def test_defaults() -> None:
    """Without any setting: loopback, file storage, proxied blobs, closed."""
    settings = load({})

    assert (settings.listen, settings.storage, settings.blob_delivery) == (
        Address("127.0.0.1", 5000),
        "filesystem",
        "proxy",
    )
    assert settings.database_url is None
    assert not settings.open


def test_the_command_line_beats_the_environment_beats_the_file(tmp_path: Path) -> None:
    """Later sources override earlier ones, setting by setting."""
    file = tmp_path / "slipway.toml"
    file.write_text('listen = "127.0.0.1:1"\ndata_dir = "/file"\nblob_delivery = "redirect"\n')
    environment = {"SLIPWAY_LISTEN": "127.0.0.1:2", "SLIPWAY_DATA_DIR": "/environment"}

    settings = load(environment, file, {"listen": Address("127.0.0.1", 3), "data_dir": None})

    assert settings.listen == Address("127.0.0.1", 3)
    assert settings.data_dir == Path("/environment")
    assert settings.blob_delivery == "redirect"
    assert load(environment | {"SLIPWAY_CONFIG": str(file)}).blob_delivery == "redirect"


def test_what_other_commands_need_is_no_setting() -> None:
    """The environment may say how to reach another server while this one is started."""
    others = {"SLIPWAY_URL": "https://x", "SLIPWAY_ACCESS_KEY_ID": "id", "SLIPWAY_SECRET_KEY": "secret"}

    assert load(others) == load({})


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"SLIPWAY_LISTN": "x"}, "SLIPWAY_LISTN is no setting"),
        ({"SLIPWAY_Listen": "127.0.0.1:1"}, "SLIPWAY_Listen is no setting"),
        ({"SLIPWAY_LISTEN": "5000"}, "host:port"),
        ({"SLIPWAY_LISTEN": "127.0.0.1:65536"}, "host:port"),
        ({"SLIPWAY_LISTEN": "127.0.0.1:\u0665"}, "host:port"),
        ({"SLIPWAY_STORAGE": "gcs"}, "filesystem or s3"),
        ({"SLIPWAY_STORAGE": "s3"}, "SLIPWAY_S3_BUCKET"),
        ({"SLIPWAY_WORKERS": "0"}, "from 1 on"),
        ({"SLIPWAY_WORKERS": "-1"}, "from 1 on"),
        ({"SLIPWAY_WORKERS": "\u0665"}, "from 1 on"),
        ({"SLIPWAY_WORKERS": "two"}, "from 1 on"),
        ({"SLIPWAY_BLOB_DELIVERY": "carrier pigeon"}, "proxy or redirect"),
        ({"SLIPWAY_DATABASE_URL": "mysql://x"}, "postgresql://"),
        ({"SLIPWAY_S3_ENDPOINT_URL": "localhost:9000"}, "http://"),
        ({"SLIPWAY_S3_ACCESS_KEY_ID": "only"}, "set both"),
        ({"SLIPWAY_CONFIG": "/does/not/exist"}, "/does/not/exist cannot be read"),
    ],
)
def test_wrong_environment(environment: dict[str, str], sentence: str) -> None:
    """What cannot be meant is refused with a sentence that names it."""
    with pytest.raises(ConfigurationError, match=sentence):
        load(environment)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('lisen = "127.0.0.1:1"', "unknown setting lisen"),
        ("open = true", "unknown setting open"),
        ("listen = 5000", "must be a text"),
        ("listen = ", "is not TOML"),
        ('storage = "gcs"', "storage in .*slipway.toml"),
    ],
)
def test_wrong_file(tmp_path: Path, text: str, sentence: str) -> None:
    """A file is read as strictly as the environment, and cannot open the registry."""
    file = tmp_path / "slipway.toml"
    file.write_text(text)

    with pytest.raises(ConfigurationError, match=sentence):
        load({}, file)


@pytest.mark.parametrize(
    ("cores", "limit", "workers"),
    [
        (2, "max 100000\n", 2),
        (64, "max 100000\n", 16),
        (64, "250000 100000\n", 3),
        (4, "800000 100000\n", 4),
        (1, "10000 100000\n", 1),
        (3, None, 3),
    ],
)
def test_as_many_workers_as_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int, limit: str | None, workers: int
) -> None:
    """Without the setting there is a worker for each core that may be used, but never very many."""
    file = tmp_path / "cpu.max"
    if limit is not None:
        file.write_text(limit)
    monkeypatch.setattr("gateway.config._CONTAINER_LIMIT", file)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)))

    assert load({}).workers == workers
    assert load({"SLIPWAY_WORKERS": "40"}).workers == 40


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_open_on_loopback(host: str) -> None:
    """A registry may be open to its own machine."""
    assert Settings(listen=Address(host, 5000), open=True).open


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1", "registry.example", "localhost.example"])
def test_open_to_the_world_is_refused(host: str) -> None:
    """A registry without authentication is for nobody else."""
    with pytest.raises(ConfigurationError, match="refused"):
        Settings(listen=Address(host, 5000), open=True)


@pytest.mark.parametrize("text", ["127.0.0.1:5000", "[::1]:5000", "localhost:0"])
def test_addresses_are_written_as_they_are_read(text: str) -> None:
    """An address survives being written."""
    assert str(Address.parse(text)) == text


def test_secrets_are_not_shown() -> None:
    """Printing settings shows neither the database's password nor the secret key."""
    settings = load(
        {
            "SLIPWAY_DATABASE_URL": "postgresql://user:hidden@host/db",
            "SLIPWAY_S3_ACCESS_KEY_ID": "id",
            "SLIPWAY_S3_SECRET_ACCESS_KEY": "hidden",
        }
    )

    assert "hidden" not in repr(settings)
