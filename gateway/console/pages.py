"""All pages of the console, in one table."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.console import accounts, audit, images, images_deleting, images_editing, keys, registries

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.console.visits import Reply, Visit

    Handler = Callable[[Visit], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Page:
    """One page, or one form that is sent."""

    method: str
    form: re.Pattern[str]
    """Of its addresses, undecoded."""
    handle: Handler
    again: Handler | None = None
    """Shows the page that a form is on, when what it sent is refused."""


def _page(method: str, path: str, handle: Handler, again: Handler | None = None) -> Page:
    pieces = re.split(r"\{([a-z_]+)\}", path)
    form = "".join(f"(?P<{each}>[^/]+)" if place % 2 else re.escape(each) for place, each in enumerate(pieces))
    return Page(method, re.compile(form), handle, again)


_REGISTRY = "/console/registries/{registry}"
_ACCOUNT = "/console/accounts/{account}"
_KEY = "/console/keys/{access_key_id}"
_IMAGE = f"{_REGISTRY}/images/{{repository}}"
_MANIFEST = f"{_IMAGE}/manifests/{{digest}}"

PAGES = (
    _page("GET", "/console/", registries.show_registries),
    _page("GET", "/console/new-registry", registries.show_new_registry),
    _page("POST", "/console/new-registry", registries.create, registries.show_new_registry),
    _page("GET", f"{_REGISTRY}/settings", registries.show_settings),
    _page("POST", f"{_REGISTRY}/settings", registries.change, registries.show_settings),
    _page("POST", f"{_REGISTRY}/delete", registries.delete, registries.show_settings),
    _page("GET", f"{_REGISTRY}/audit", audit.show_audit_of_registry),
    _page("GET", f"{_REGISTRY}/images", images.show_images),
    _page("POST", f"{_REGISTRY}/delete-images", images_deleting.delete_selected, images.show_images),
    _page("GET", _IMAGE, images.show_tags),
    _page("GET", f"{_IMAGE}/untagged", images.show_untagged),
    _page("GET", f"{_IMAGE}/details", images.show_details),
    _page("POST", f"{_IMAGE}/mutability", images_editing.change_mutability),
    _page("GET", f"{_IMAGE}/edit", images_editing.show_editor),
    _page("POST", f"{_IMAGE}/edit", images_editing.save, images_editing.show_editor),
    _page("POST", f"{_IMAGE}/preview", images_editing.preview),
    _page("GET", f"{_IMAGE}/delete", images_deleting.ask_image),
    _page("POST", f"{_IMAGE}/delete", images_deleting.delete_image),
    _page("GET", f"{_IMAGE}/tags/{{tag}}/delete", images_deleting.ask_tag),
    _page("POST", f"{_IMAGE}/tags/{{tag}}/delete", images_deleting.delete_tag),
    _page("GET", _MANIFEST, images.show_manifest),
    _page("GET", f"{_MANIFEST}/delete", images_deleting.ask_manifest),
    _page("POST", f"{_MANIFEST}/delete", images_deleting.delete_manifest, images.show_manifest),
    _page("GET", f"{_REGISTRY}/deleted", images_deleting.show_deleted),
    _page("POST", f"{_REGISTRY}/deleted/{{deletion}}/restore", images_deleting.restore, images_deleting.show_deleted),
    _page("GET", "/console/accounts", accounts.show_accounts),
    _page("POST", "/console/accounts", accounts.create, accounts.show_accounts),
    _page("GET", _ACCOUNT, accounts.show_account),
    _page("POST", f"{_ACCOUNT}/policies", accounts.change_policies, accounts.show_account),
    _page("POST", f"{_ACCOUNT}/delete", accounts.delete, accounts.show_account),
    _page("GET", "/console/keys", keys.show_keys),
    _page("POST", "/console/keys", keys.create, keys.show_keys),
    _page("GET", _KEY, keys.show_key),
    _page("POST", _KEY, keys.change, keys.show_key),
    _page("POST", f"{_KEY}/rotate", keys.rotate, keys.show_key),
    _page("POST", f"{_KEY}/delete", keys.delete, keys.show_key),
    _page("GET", "/console/audit", audit.show_audit),
)
