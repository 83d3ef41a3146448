"""Words about images: how lists are sorted, what can be deleted, and how it comes back."""

from __future__ import annotations

from enum import StrEnum


class ImageOrder(StrEnum):
    """How a list of images is sorted."""

    NAME = "name"
    CHANGED = "changed"
    PULLS = "pulls"


class TagOrder(StrEnum):
    """How a list of tags is sorted: by name, or what was pushed or pulled last first."""

    NAME = "name"
    PUSHED = "pushed"
    PULLED = "pulled"


class DeletedKind(StrEnum):
    """What was deleted."""

    IMAGE = "image"
    TAG = "tag"
    MANIFEST = "manifest"


class RestoreOutcome(StrEnum):
    """How something came back."""

    RESTORED = "restored"
    UNTAGGED = "untagged"
    """The tag's name is taken: its manifest is there, without the tag."""
    JOINED = "joined"
    """The image's name is taken: its contents are in the living image; tags that this one has are left out."""
