"""Names that clients choose: repositories, tags, and the reference in a manifest's address."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from gateway.errors import NameInvalid, ReferenceInvalid
from gateway.model.digest import Digest

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_LONGEST_REPOSITORY = 255
_LONGEST_TAG = 128


@dataclass(frozen=True, slots=True, order=True)
class RepositoryName:
    """A repository's name: components of lower-case letters, digits and separators, joined by slashes."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a name (distribution specification, Pulling manifests), or raise NameInvalid."""
        if len(text) > _LONGEST_REPOSITORY:
            raise NameInvalid(f"a repository name has at most {_LONGEST_REPOSITORY} characters")
        if not _REPOSITORY.fullmatch(text):
            raise NameInvalid(
                "a repository name consists of lower-case letters and digits, joined by single '.', '_', '__' "
                "or hyphens, in components that are separated by '/'",
            )
        return cls(text)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, order=True)
class Tag:
    """A name within a repository that points at a manifest and can be moved."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a tag (distribution specification, Pulling manifests), or raise ReferenceInvalid."""
        if len(text) > _LONGEST_TAG or not _TAG.fullmatch(text):
            raise ReferenceInvalid(
                f"a tag has at most {_LONGEST_TAG} characters: letters, digits, '.', '_' and '-'; "
                "it begins with a letter, a digit or '_'",
            )
        return cls(text)

    def __str__(self) -> str:
        return self.text


Reference = Digest | Tag


def is_repository_name(text: str) -> bool:
    """Tell whether a repository can have this name."""
    try:
        RepositoryName.parse(text)
    except NameInvalid:
        return False
    return True


def parse_reference(text: str) -> Reference:
    """Read the last component of a manifest's address: with a colon it is a digest, else a tag."""
    return Digest.parse(text) if ":" in text else Tag.parse(text)
