"""What a registry is reached by: names, endpoints, and ways to deliver its blobs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from gateway.model.networks import IpAddress, Networks

_REGISTRY_NAME = re.compile(r"[a-z][a-z0-9-]{1,28}[a-z0-9]", re.ASCII)
_PRIVATE_LABEL = re.compile(r"[a-z][a-z0-9]{25}", re.ASCII)


def check_registry_name(text: str) -> str:
    """Return a registry's name if it is one: 3 to 30 characters that can be a host's label; raises ValueError."""
    if not is_registry_name(text):
        raise ValueError(
            "a registry's name has 3 to 30 lower-case letters, digits and hyphens; it begins with a letter and "
            "does not end with a hyphen"
        )
    return text


def is_registry_name(text: str) -> bool:
    """Whether a text can be a registry's name."""
    return bool(_REGISTRY_NAME.fullmatch(text))


def is_private_label(text: str) -> bool:
    """Whether a text can be the label of a private endpoint's host."""
    return bool(_PRIVATE_LABEL.fullmatch(text))


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

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``NETWORK=proxy``, ``NETWORK=redirect-public`` or ``NETWORK=redirect-private``; raises ValueError."""
        network, _, way = text.partition("=")
        delivery, _, storage = way.partition("-")
        if way not in {"proxy", "redirect-public", "redirect-private"}:
            raise ValueError(f"{text!r} is no rule: write it like 10.0.0.0/8=redirect-private or 192.0.2.0/24=proxy")
        return cls(Networks.parse([network]), Delivery(delivery), Endpoint(storage or Endpoint.PUBLIC))

    @property
    def text(self) -> str:
        """The rule as ``parse`` reads it."""
        way = self.delivery if self.delivery is Delivery.PROXY else f"{self.delivery}-{self.storage}"
        return f"{','.join(self.network.texts())}={way}"


@dataclass(frozen=True, slots=True)
class DeliveryPolicy:
    """How one registry's blobs are delivered."""

    public: Delivery
    private: Delivery
    rules: tuple[DeliveryRule, ...] = ()
    """The first whose network the client is in counts."""

    def redirects_to(self, endpoint: Endpoint, client: IpAddress) -> Endpoint | None:
        """Return which of the storage's addresses a client is sent to; None when blobs are streamed to it."""
        for rule in self.rules:
            if client in rule.network:
                return rule.storage if rule.delivery is Delivery.REDIRECT else None
        usual = self.public if endpoint is Endpoint.PUBLIC else self.private
        return endpoint if usual is Delivery.REDIRECT else None

    @property
    def ever_redirects(self) -> bool:
        """Whether any client may be sent to the storage."""
        return Delivery.REDIRECT in {self.public, self.private, *(rule.delivery for rule in self.rules)}
