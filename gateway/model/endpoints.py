"""What a registry is reached by: names, endpoints, and ways to deliver its blobs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.model.networks import Networks

_REGISTRY_NAME = re.compile(r"[a-z][a-z0-9-]{1,28}[a-z0-9]")


def check_registry_name(text: str) -> str:
    """Return a registry's name if it is one: 3 to 30 characters that can be a host's label; raises ValueError."""
    if not _REGISTRY_NAME.fullmatch(text):
        raise ValueError(
            "a registry's name has 3 to 30 lower-case letters, digits and hyphens; it begins with a letter and "
            "does not end with a hyphen"
        )
    return text


class Endpoint(StrEnum):
    """The two ways to a registry."""

    PUBLIC = "public"
    PRIVATE = "private"


class Delivery(StrEnum):
    """How blobs are pulled."""

    PROXY = "proxy"
    REDIRECT = "redirect"


@dataclass(frozen=True, slots=True)
class DeliveryRule:
    """An exception for clients of one network."""

    network: Networks
    delivery: Delivery
    storage: Endpoint
    """Which of the storage's addresses a redirect is signed for."""
