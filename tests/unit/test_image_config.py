"""Configs of images and platforms, as builders write them and as nobody should."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.image_config import ImageConfig, platform_of
from gateway.model.manifest import OCI_INDEX, Manifest

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["os", "architecture", "config", "Env", "Labels", "ExposedPorts", "history", "created"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("value", "platform"),
    [
        ({"os": "linux", "architecture": "amd64"}, "linux/amd64"),
        ({"os": "linux", "architecture": "arm", "variant": "v7"}, "linux/arm/v7"),
        ({"os": "windows", "architecture": "amd64", "os.version": "10.0"}, "windows/amd64"),
        ({"os": "linux", "architecture": "arm64", "variant": ""}, "linux/arm64"),
        ({"os": "unknown", "architecture": "unknown"}, None),
        ({"os": "linux"}, None),
        ({"os": "", "architecture": "amd64"}, None),
        ({"os": "linux", "architecture": 64}, None),
        ({"os": "linux,windows", "architecture": "amd64"}, None),
        ({"os": "linux", "architecture": "amd64", "variant": "v\0"}, None),
        ({"os": "linux", "architecture": "a" * 65}, None),
        ("linux/amd64", None),
        (None, None),
    ],
)
def test_platforms(value: Any, platform: str | None) -> None:
    """Only what is written as platforms are is one."""
    assert platform_of(value) == platform


def test_an_index_names_each_platform_once() -> None:
    """In its order; attestations, which have none, are passed over."""
    digest = "sha256:" + "0" * 64
    platforms: list[Any] = [
        {"os": "linux", "architecture": "arm64"},
        {"os": "unknown", "architecture": "unknown"},
        {"os": "linux", "architecture": "amd64"},
        {"os": "linux", "architecture": "arm64"},
        "nonsense",
    ]
    children = [{"mediaType": "x/y", "digest": digest, "size": 1, "platform": each} for each in platforms]
    raw = orjson.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children})

    assert Manifest.parse(raw, "").platforms == ["linux/arm64", "linux/amd64"]


@given(JSON)
def test_any_config_can_be_shown(value: Any) -> None:
    """Whatever has another form than it should counts as not said; texts stay texts."""
    config = ImageConfig.parse(orjson.dumps(value))

    assert all(isinstance(each, str) for each in (*config.environment, *config.exposed_ports, *config.labels.values()))
    assert config.platform is None or "/" in config.platform


@given(st.binary(max_size=50))
def test_bytes_that_are_no_config_say_nothing(content: bytes) -> None:
    """They may have been pushed as one."""
    assert ImageConfig.parse(content).labels == {}
