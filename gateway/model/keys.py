"""Keys of objects: everything that a registry has in its bucket lies below one folder that no other one uses."""

from __future__ import annotations

import re

_NAME = re.compile(r"[0-9a-f]{32}")
_DRAFT = re.compile(r"\..+-[0-9a-f]{16}")


def folder_of(public_id: str) -> str:
    """Return the folder of a registry, by the id that stands in keys."""
    return f"slipway/{public_id}/"


def objects_of(public_id: str) -> str:
    """Return the folder of a registry's blobs, on their way or published."""
    return f"{folder_of(public_id)}objects/"


def is_draft_of(public_id: str, key: str) -> bool:
    """Tell whether a key is that of a small file which was still being written, beside the place that it is for."""
    name = key.rpartition("/")[2]
    return key.startswith(folder_of(public_id)) and bool(_DRAFT.fullmatch(name))


def is_object_of(public_id: str, key: str) -> bool:
    """Tell whether a key is one that an upload to a registry may have been given."""
    folder = objects_of(public_id)
    return key.startswith(folder) and bool(_NAME.fullmatch(key.removeprefix(folder)))
