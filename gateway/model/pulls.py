"""What counts as a pull, decided in one place (docs/pulls.md).

A *pull* is an image manifest that a client was given. A *resolution* is a question that went through a tag, whatever
came of it for the client. The two are never added up: docker asks with HEAD for a tag and then gets by digest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_IMAGE = "image"


@dataclass(frozen=True, slots=True)
class Effect:
    """What an answer adds to the counters."""

    pulls: bool
    resolves: bool


# Made once: this is asked for every manifest.
_EFFECTS = {(pulls, resolves): Effect(pulls, resolves) for pulls in (False, True) for resolves in (False, True)}


def effect_of(*, kind: str, by_tag: bool, has_body: bool) -> Effect:
    """Decide what a manifest that was found counts for.

    ``kind`` is the manifest's; ``has_body`` is false for HEAD and for 304. An index does not count, because the client
    gets the manifest of its platform next; artifacts, signatures, attestations and caches are no images. Errors never
    come here.
    """
    return _EFFECTS[has_body and kind == _IMAGE, by_tag]


@dataclass(frozen=True, slots=True)
class Exclusions:
    """Callers whose requests count for nothing: scanners, replication."""

    access_key_ids: frozenset[str] = frozenset()
    agents: tuple[str, ...] = ()
    """Beginnings of User-Agent headers, in lower case."""

    @classmethod
    def of(cls, access_key_ids: Iterable[str], agents: Iterable[str]) -> Exclusions:
        """Make exclusions of what was configured."""
        return cls(frozenset(access_key_ids), tuple(agent.lower() for agent in agents))

    def cover(self, access_key_id: str | None, agent: str | None) -> bool:
        """Whether this caller is excluded."""
        if self.access_key_ids and access_key_id in self.access_key_ids:
            return True
        return bool(self.agents) and agent is not None and agent.lower().startswith(self.agents)
