"""The catalogue: which rows have changed, and the segments in which they are written down."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field, replace
from datetime import UTC
from typing import TYPE_CHECKING, Self

from gateway.db.pool import rows_of
from gateway.db.statements import statement
from gateway.model.catalogue import Header, Kind, Record, encode, segment_key
from gateway.ports.catalogue import Backlog, Drawn
from gateway.ports.metadata import Registry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import asyncpg

    from gateway.db.pool import Connection, Database

_FETCH_WAITING_CATALOGUES = statement("fetch_waiting_catalogues")
_MEASURE_BACKLOG = statement("measure_backlog")
_INSERT_CATALOGUE_STATE = statement("insert_catalogue_state")
_LOCK_CATALOGUE_STATE = statement("lock_catalogue_state")
_CLAIM_PENDING_SEGMENT = statement("claim_pending_segment")
_HAS_PENDING_SEGMENT = statement("has_pending_segment")
_TAKE_CATALOGUE_CHANGES = statement("take_catalogue_changes")
_PAGE_CATALOGUE = statement("page_catalogue")
_FETCH_CATALOGUE_RECORDS = statement("fetch_catalogue_records")
_INSERT_SEGMENT = statement("insert_segment")
_RECORD_DRAW = statement("record_draw")
_BEGIN_WALK = statement("begin_walk")
_FINISH_SEGMENT = statement("finish_segment")
_RECORD_STORED_SEGMENT = statement("record_stored_segment")
_RETIRE_SEGMENTS_BEFORE_WALK = statement("retire_segments_before_walk")
_END_WALK = statement("end_walk")
_BEGIN_REPLAY = statement("begin_replay")
_INSERT_FOUND_SEGMENTS = statement("insert_found_segments")
_SETTLE_PENDING_SEGMENT = statement("settle_pending_segment")
_FINISH_REPLAY = statement("finish_replay")
_FETCH_OUTBOX_END = statement("fetch_outbox_end")
_IS_CATALOGUE_WRITTEN = statement("is_catalogue_written")
_FETCH_LAST_SEGMENT = statement("fetch_last_segment")
_FETCH_DATABASE_LIFE = statement("fetch_database_life")
_FETCH_LINEAGE = statement("fetch_lineage")
_FETCH_UNKNOWN_SEGMENTS = statement("fetch_unknown_segments")

_KINDS = tuple(Kind)
_WALKED = (*_KINDS[1:], None)
_PAGES_AT_A_TIME = 20


@dataclass(frozen=True, slots=True)
class Limits:
    """How much goes into a segment, and when everything is written anew."""

    records: int = 2000
    size: int = 4 << 20
    """In bytes, about, before it is packed."""
    growth: int = 4
    """A new series begins when what was written since the last one is so many times as large."""
    least_log: int = 1 << 20
    """In bytes; a shorter log is kept however little there is to say."""


@dataclass(slots=True)
class _Plan:
    """What the next segment is to hold."""

    ids: dict[Kind, list[int]] = field(default_factory=lambda: {kind: [] for kind in _KINDS})
    size: int = 0

    def add(self, kind: Kind, entity_id: int, size: int = 0) -> None:
        self.ids[kind].append(entity_id)
        self.size += size

    @property
    def count(self) -> int:
        return sum(map(len, self.ids.values()))


@dataclass(frozen=True, slots=True)
class _State:
    """Of a catalogue; its row is locked."""

    lineage: int
    seq: int
    last_key: str | None
    base_key: str | None
    base_bytes: int
    log_bytes: int
    walk_kind: str | None
    walk_after: int
    walk_key: str | None
    walk_seq: int | None
    is_replayed: bool
    drawn_at: datetime

    @classmethod
    def of(cls, row: asyncpg.Record) -> Self:
        return cls(**row)

    @property
    def walks(self) -> bool:
        return self.walk_kind is not None


class Catalogue:
    """Implements ports.catalogue.CatalogueIndex."""

    def __init__(self, database: Database, storage: str, limits: Limits | None = None) -> None:
        """Look after the catalogues of one storage, by its name."""
        self._database = database
        self._storage = storage
        self._limits = limits or Limits()

    async def fetch_waiting(self) -> list[Registry]:
        """See the port."""
        return [Registry(**row) for row in await self._database.fetch(_FETCH_WAITING_CATALOGUES, self._storage)]

    async def measure_backlog(self) -> Backlog:
        """See the port."""
        row = await self._database.fetchrow(_MEASURE_BACKLOG, self._storage)
        assert row is not None
        return Backlog(row["changes"], row["oldest_seconds"])

    async def draw(self, registry: Registry, *, at_once: bool = False) -> Drawn | None:
        """See the port."""

        async def work(connection: Connection) -> Drawn | None:
            # The first statement: what it sees is what all see.
            row = await connection.fetchrow(_LOCK_CATALOGUE_STATE, registry.id, registry.generation)
            if row is None or row["is_replayed"]:
                return None
            pending = await connection.fetchrow(_CLAIM_PENDING_SEGMENT, registry.id, at_once)
            if pending is not None:
                return Drawn(pending["key"], pending["content"], is_full=True)
            if await connection.fetchval(_HAS_PENDING_SEGMENT, registry.id):
                return None
            return await self._draw_next(connection, registry, await self._begin_if_due(connection, registry, row))

        await self._database.execute(_INSERT_CATALOGUE_STATE, registry.id)
        return await self._database.transact(work, sees_one_moment=True)

    async def record_stored(self, registry: Registry, key: str) -> None:
        """See the port."""

        async def work(connection: Connection) -> None:
            stored = await connection.fetchrow(_FINISH_SEGMENT, registry.id, key)
            if stored is None:
                return
            ends_walk = stored["ends_walk"]
            await connection.execute(_RECORD_STORED_SEGMENT, registry.id, key, stored["size"], ends_walk)
            if ends_walk:
                await connection.execute(_RETIRE_SEGMENTS_BEFORE_WALK, registry.id)
                await connection.execute(_END_WALK, registry.id)

        await self._database.transact(work)

    async def fetch_end(self, registry: Registry) -> int:
        """See the port."""
        row = await self._database.fetchrow(_FETCH_OUTBOX_END, registry.id)
        return int(row["id"]) if row else 0

    async def is_written(self, registry: Registry, through: int) -> bool:
        """See the port."""
        row = await self._database.fetchrow(_IS_CATALOGUE_WRITTEN, registry.id, through)
        return row is not None and bool(row["is_written"])

    async def fetch_last(self, registry: Registry) -> str | None:
        """See the port."""
        row = await self._database.fetchrow(_FETCH_LAST_SEGMENT, registry.id)
        return None if row is None else row["last_key"]

    async def fetch_unknown(self, keys: Sequence[str]) -> list[str]:
        """See the port."""
        return [row["key"] for row in await self._database.fetch(_FETCH_UNKNOWN_SEGMENTS, keys)]

    async def fetch_life(self) -> str:
        """See the port."""
        row = await self._database.fetchrow(_FETCH_DATABASE_LIFE)
        assert row is not None
        return str(row["life"])

    async def begin_anew(self, registry: Registry) -> None:
        """See the port."""
        await self._database.execute(_BEGIN_WALK, registry.id)

    async def fetch_lineage(self, registry: Registry) -> int:
        """See the port."""
        await self._database.execute(_INSERT_CATALOGUE_STATE, registry.id)
        row = await self._database.fetchrow(_FETCH_LINEAGE, registry.id)
        assert row is not None
        return int(row["lineage"])

    async def begin_replay(self, registry: Registry) -> bool:
        """See the port."""
        await self._database.execute(_INSERT_CATALOGUE_STATE, registry.id)
        row = await self._database.fetchrow(_BEGIN_REPLAY, registry.id)
        return row is not None and bool(row["is_replayed"])

    async def finish_replay(self, registry: Registry, found: Sequence[tuple[str, int, int]], base: str | None) -> None:
        """See the port."""
        last_key, last_seq, _ = found[-1]
        columns = rows_of(found, 3)

        async def work(connection: Connection) -> None:
            await connection.execute(_SETTLE_PENDING_SEGMENT, registry.id, columns[0])
            await connection.execute(_INSERT_FOUND_SEGMENTS, registry.id, *columns)
            await connection.execute(_FINISH_REPLAY, registry.id, last_seq, last_key, base)

        await self._database.transact(work)

    async def _begin_if_due(self, connection: Connection, registry: Registry, row: asyncpg.Record) -> _State:
        """Begin a new series when the log has become long."""
        state = _State.of(row)
        longest = max(self._limits.least_log, self._limits.growth * state.base_bytes)
        if state.walks or state.walk_key is not None or state.log_bytes <= longest:
            return state
        await connection.execute(_BEGIN_WALK, registry.id)
        return replace(state, walk_kind=Kind.REGISTRY, walk_after=0)

    async def _draw_next(self, connection: Connection, registry: Registry, state: _State) -> Drawn | None:
        plan = _Plan()
        limits = self._limits
        for row in await connection.fetch(_TAKE_CATALOGUE_CHANGES, registry.id, limits.records, limits.size, _KINDS):
            plan.add(Kind(row["kind"]), row["entity_id"], row["size"])
        is_full = plan.count >= limits.records or plan.size >= limits.size
        walked = await self._walk(connection, registry, state, plan) if state.walks else state
        ends_walk = state.walks and not walked.walks
        if not plan.count and not ends_walk:
            await _record(connection, registry, walked)
            return None
        seq = state.seq + 1
        key = segment_key(registry.public_id, registry.generation, seq, secrets.token_hex(16))
        if state.walks and state.walk_key is None:
            walked = replace(walked, walk_key=key, walk_seq=seq)
        base = walked.walk_key if ends_walk else state.base_key
        now = state.drawn_at.astimezone(UTC).isoformat()
        header = Header(registry.public_id, registry.generation, state.lineage, seq, state.last_key, base, now)
        content = await asyncio.to_thread(encode, header, await _records(connection, plan))
        await connection.execute(_INSERT_SEGMENT, key, registry.id, seq, content, ends_walk)
        await _record(connection, registry, replace(walked, seq=seq))
        return Drawn(key, content, is_full=is_full or walked.walks)

    async def _walk(self, connection: Connection, registry: Registry, state: _State, plan: _Plan) -> _State:
        """Add to the plan what the series has not come to yet, as far as there is room."""
        kind, after = state.walk_kind, state.walk_after
        if kind == Kind.REGISTRY:
            plan.add(Kind.REGISTRY, registry.id)
            kind = Kind.REPOSITORY
        for _ in range(_PAGES_AT_A_TIME):
            room = self._limits.records - plan.count
            if kind is None or room <= 0 or plan.size >= self._limits.size:
                break
            page = await connection.fetch(_PAGE_CATALOGUE, registry.id, kind, after, room)
            for row in page:
                if plan.size >= self._limits.size:
                    break
                after = row["id"]
                if row["is_own"]:
                    plan.add(Kind(kind), row["id"], row["size"])
            if len(page) < room and (not page or after == page[-1]["id"]):
                kind, after = _WALKED[_WALKED.index(Kind(kind)) + 1], 0
        return replace(state, walk_kind=kind, walk_after=after)


async def _record(connection: Connection, registry: Registry, state: _State) -> None:
    await connection.execute(
        _RECORD_DRAW, registry.id, state.seq, state.walk_kind, state.walk_after, state.walk_key, state.walk_seq
    )


async def _records(connection: Connection, plan: _Plan) -> list[Record]:
    """Read what entities are now, in the order of their kinds."""
    wanted = {kind: sorted(set(ids)) for kind, ids in plan.ids.items()}
    rows = await connection.fetch(_FETCH_CATALOGUE_RECORDS, *wanted.values())
    states = {(row["kind"], row["id"]): row["state"] for row in rows}
    return [Record(kind, each, states.get((kind, each))) for kind, ids in wanted.items() for each in ids]
