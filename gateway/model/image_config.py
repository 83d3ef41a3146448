"""What an image's config says (OCI image specification, config.md), and how platforms are written.

Builders write configs, and nobody checks them when they are pushed: whatever has another form than it should counts as
not said.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import orjson

LARGEST_CONFIG = 4 * 1024 * 1024
"""Bytes of a config that is read; what real builders write has a hundredth of it."""

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_UNKNOWN = "unknown/unknown"


@dataclass(frozen=True, slots=True)
class Step:
    """How one layer, or none, came about."""

    created_at: str | None
    created_by: str
    comment: str
    is_empty: bool
    """Whether it made no layer."""


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What a builder wrote of an image."""

    platform: str | None
    created_at: str | None
    author: str
    user: str
    working_dir: str
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    environment: tuple[str, ...]
    exposed_ports: tuple[str, ...]
    labels: dict[str, str]
    history: tuple[Step, ...]

    @classmethod
    def parse(cls, content: bytes) -> ImageConfig:
        """Read a config; one that is no JSON object says nothing."""
        try:
            document = _object(orjson.loads(content))
        except orjson.JSONDecodeError:
            document = {}
        runs = _object(document.get("config"))
        return cls(
            platform=platform_of(document),
            created_at=_text(document.get("created")) or None,
            author=_text(document.get("author")),
            user=_text(runs.get("User")),
            working_dir=_text(runs.get("WorkingDir")),
            entrypoint=_texts(runs.get("Entrypoint")),
            command=_texts(runs.get("Cmd")),
            environment=_texts(runs.get("Env")),
            exposed_ports=tuple(sorted(_object(runs.get("ExposedPorts")))),
            labels={name: value for name, value in _object(runs.get("Labels")).items() if isinstance(value, str)},
            history=tuple(_step(_object(each)) for each in _list(document.get("history"))),
        )


def platform_of(value: object) -> str | None:
    """Write down the platform that an object names, as os/architecture or os/architecture/variant.

    None where it names none, which is also what builders mean by unknown/unknown.
    """
    platform = _object(value)
    parts = [platform.get("os"), platform.get("architecture")]
    if platform.get("variant"):
        parts.append(platform["variant"])
    if not all(isinstance(part, str) and _PART.fullmatch(part) for part in parts):
        return None
    text = "/".join(map(str, parts))
    return None if text == _UNKNOWN else text


def _step(value: dict[str, Any]) -> Step:
    return Step(
        created_at=_text(value.get("created")) or None,
        created_by=_text(value.get("created_by")),
        comment=_text(value.get("comment")),
        is_empty=value.get("empty_layer") is True,
    )


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> tuple[str, ...]:
    return tuple(each for each in _list(value) if isinstance(each, str))
