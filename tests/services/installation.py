"""An installation with a root account, as several people manage it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from gateway.db.access_keys import AccessKeys
from gateway.db.accounts import Accounts as AccountRows
from gateway.db.audit import AuditLog
from gateway.db.installation import Installation
from gateway.db.keys import Keys
from gateway.db.registries import ensure_default_registry
from gateway.db.sealed import SealedValues
from gateway.model.access import Action, Actor, Role
from gateway.ports.accounts import KeyRequest
from gateway.ports.audit import AuditFilter
from gateway.services.accounts import Accounts
from gateway.services.bootstrap import Bootstrap
from gateway.services.sealing import Sealer
from gateway.services.secrets import Secrets

if TYPE_CHECKING:
    from gateway.db.pool import Database
    from gateway.model.access import AccessKey
    from gateway.ports.audit import AuditRecord

LOCAL = Actor(None, "local")
SOON = datetime.now(UTC) + timedelta(days=30)
OVER = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass
class Office:
    """The services of one process that manage accounts, and a way to look behind them."""

    database: Database
    accounts: Accounts
    secrets: Secrets
    root_key_id: str

    async def key(self, access_key_id: str) -> AccessKey:
        """Return a key as requests see it now."""
        found = await Keys(self.database).fetch_key(access_key_id)
        assert found is not None
        return found

    async def root(self) -> AccessKey:
        """Return root's first key."""
        return await self.key(self.root_key_id)

    async def hire(self, name: str, *policies: tuple[Role, str | None], narrowed: bool = False) -> AccessKey:
        """Make an account with policies, and a key of it."""
        await self.accounts.create_account(LOCAL, None, name)
        for role, registry in policies:
            await self.accounts.grant(LOCAL, None, name, role, registry)
        request = KeyRequest(actions=frozenset({Action.PULL}) if narrowed else None)
        made, _ = await self.accounts.create_key(LOCAL, None, name, request)
        return await self.key(made.access_key_id)

    async def works(self, access_key_id: str, secret: str) -> bool:
        """Whether a secret is one of the key's that have not ended."""
        now = await self.database.fetchrow("SELECT now()")
        assert now is not None
        living = [
            each
            for each in (await self.key(access_key_id)).secrets
            if each.expires_at is None or each.expires_at > now[0]
        ]
        return any([await self.secrets.matches(secret, each) for each in living])

    async def lines(self) -> list[AuditRecord]:
        """All lines of the audit log, the oldest first."""
        return list(reversed(await AuditLog(self.database).list(AuditFilter(), None, 1000)))


def actor(key: AccessKey | None) -> Actor:
    """Who acts with a key, as the log knows them."""
    if key is None:
        return LOCAL
    return Actor(key.account.id, key.account.name, key.access_key_id, "10.0.0.1")


async def open_office(database: Database) -> Office:
    """Begin an installation with registries ``default`` and ``team``."""
    bootstrap = Bootstrap(Installation(database), SealedValues(database), Sealer(None))
    await bootstrap.begin()
    root = await bootstrap.create_root(None)
    assert root is not None
    await ensure_default_registry(database, "test", "default")
    await database.execute(
        "INSERT INTO registries (public_id, name, storage, bucket) VALUES (repeat('7', 32), 'team', 'test', 'team')"
    )
    secrets = Secrets(SealedValues(database), Sealer(None))
    await secrets.load()
    accounts = Accounts(AccountRows(database), AccessKeys(database), secrets)
    return Office(database, accounts, secrets, root.access_key_id)
