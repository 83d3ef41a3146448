"""What the operations work with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.ports.pulls import PullReports
    from gateway.services.accounts import Accounts
    from gateway.services.audit import Audit
    from gateway.services.images import Images
    from gateway.services.registries import Registries


@dataclass(frozen=True, slots=True)
class Domains:
    """Under which domains registries have their hosts."""

    public: str | None
    private: str | None


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that operations work with."""

    registries: Registries
    accounts: Accounts
    audit: Audit
    pulls: PullReports
    images: Images
    domains: Domains
