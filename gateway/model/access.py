"""Who may do what: roles, actions and access keys, as values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

_ACCOUNT_NAME = re.compile(r"[a-z][a-z0-9-]{0,61}[a-z0-9]", re.ASCII)
_ACCESS_KEY_ID = re.compile(r"[A-Za-z0-9_-]{3,64}", re.ASCII)


def is_account_name(text: str) -> bool:
    """Whether an account can have this name: it stands in tokens, in logs and in addresses."""
    return _ACCOUNT_NAME.fullmatch(text) is not None


def check_account_name(text: str) -> str:
    """Return the name of an account; raises ValueError with what such names look like."""
    if not is_account_name(text):
        raise ValueError(
            "an account's name has 2 to 63 lower-case letters, digits and hyphens; it begins with a letter and does "
            "not end with a hyphen"
        )
    return text


def is_access_key_id(text: str) -> bool:
    """Whether a key can have this id; operators may choose that of the first one."""
    return _ACCESS_KEY_ID.fullmatch(text) is not None


class Action(StrEnum):
    """What can be done to a repository's content (the words of scopes)."""

    PULL = "pull"
    PUSH = "push"
    DELETE = "delete"


ALL_ACTIONS = frozenset(Action)


class Role(StrEnum):
    """What a policy makes of an account."""

    MANAGER = "manager"
    VIEWER = "viewer"


@dataclass(frozen=True, slots=True)
class Grant:
    """A policy: a role in one registry, or in all."""

    role: Role
    registry_id: int | None
    """None means all registries."""


@dataclass(frozen=True, slots=True)
class SecretHash:
    """What is kept of a secret."""

    scheme: str
    pepper_id: int
    hash: bytes
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """An account and its policies."""

    id: int
    name: str
    is_root: bool
    grants: tuple[Grant, ...] = ()


@dataclass(frozen=True, slots=True)
class AccessKey:
    """An access key as it stands now, with the account that it speaks for."""

    id: int
    access_key_id: str
    account: Account
    secrets: tuple[SecretHash, ...] = ()
    actions: frozenset[Action] | None = None
    """What it is narrowed to; None is no narrowing."""
    repositories: tuple[str, ...] | None = None
    """Patterns of repositories that it is narrowed to (``*`` within a component, ``**`` across); None is all."""
    disabled: bool = False
    expires_at: datetime | None = None

    @property
    def is_narrowed(self) -> bool:
        """Whether it is for pulling and pushing only, not for managing anything."""
        return self.actions is not None or self.repositories is not None


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks for a change, and from where, as the audit log keeps it."""

    account_id: int | None
    account: str
    """The account's name; ``local`` for the command line on the server itself, ``open`` under ``--open``."""
    access_key_id: str | None = None
    address: str | None = None
