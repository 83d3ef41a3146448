"""Scopes: what a client asks a token for (Docker's token scope grammar; protocol.md 2.3)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.model.names import is_repository_name

if TYPE_CHECKING:
    from collections.abc import Iterable

REPOSITORY = "repository"
EVERY = "*"
"""The action that stands for all of them."""

# The class, as in repository(plugin), is history and means nothing. A name may hold a colon, so actions begin at the
# last one.
_RESOURCE = re.compile(r"(?P<type>[a-z0-9]+)(\([a-z0-9]+\))?:(?P<name>[^ ]+):(?P<actions>[a-z*,]*)", re.ASCII)
_ACTION = re.compile(r"[a-z]+|\*", re.ASCII)
_ORDER = ("pull", "push", "delete")
_MOST = 100
_MOST_CHARACTERS = 4 * 1024


@dataclass(frozen=True, slots=True)
class Scope:
    """Actions on one resource; which of them mean anything is not this module's business."""

    type: str
    name: str
    actions: frozenset[str]

    @classmethod
    def repository(cls, name: str, actions: Iterable[str]) -> Scope:
        """Make the scope of a repository."""
        return cls(REPOSITORY, name, frozenset(actions))

    @classmethod
    def parse(cls, text: str) -> Scope | None:
        """Read one scope; None for what is none, or names a repository that cannot exist."""
        match = _RESOURCE.fullmatch(text)
        if match is None or (match["type"] == REPOSITORY and not is_repository_name(match["name"])):
            return None
        actions = frozenset(part for part in match["actions"].split(",") if _ACTION.fullmatch(part))
        return cls(match["type"], match["name"], actions)

    def __str__(self) -> str:
        known = [action for action in _ORDER if action in self.actions]
        return f"{self.type}:{self.name}:{','.join(known + sorted(self.actions.difference(_ORDER)))}"


def parse_scopes(values: Iterable[str]) -> tuple[Scope, ...]:
    """Read scopes from parameters, each of which may hold several; merge those of the same resource.

    What cannot be read is ignored, as is what would make a token larger than a header may be.
    """
    found: dict[tuple[str, str], frozenset[str]] = {}
    characters = 0
    for scope in map(Scope.parse, (text for value in values for text in value.split(" "))):
        if scope is None:
            continue
        resource = scope.type, scope.name
        if resource not in found:
            characters += len(scope.name)
            if len(found) >= _MOST or characters > _MOST_CHARACTERS:
                break
        found[resource] = found.get(resource, frozenset()) | scope.actions
    return tuple(Scope(*resource, actions) for resource, actions in found.items())
