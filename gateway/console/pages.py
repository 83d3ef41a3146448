"""All pages of the console, in one table."""

from __future__ import annotations

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
    path: str
    """With variable parts in braces."""
    handle: Handler
    again: Handler | None = None
    """Shows the page that a form is on, when what it sent is refused."""


_REGISTRY = "/console/registries/{registry}"
_ACCOUNT = "/console/accounts/{account}"
_KEY = "/console/keys/{access_key_id}"
_IMAGE = f"{_REGISTRY}/images/{{repository}}"
_MANIFEST = f"{_IMAGE}/manifests/{{digest}}"

PAGES = (
    Page("GET", "/console/", registries.show_registries),
    Page("GET", "/console/new-registry", registries.show_new_registry),
    Page("POST", "/console/new-registry", registries.create, registries.show_new_registry),
    Page("GET", f"{_REGISTRY}/settings", registries.show_settings),
    Page("POST", f"{_REGISTRY}/settings", registries.change, registries.show_settings),
    Page("POST", f"{_REGISTRY}/delete", registries.delete, registries.show_settings),
    Page("GET", f"{_REGISTRY}/audit", audit.show_audit_of_registry),
    Page("GET", f"{_REGISTRY}/images", images.show_images),
    Page("POST", f"{_REGISTRY}/delete-images", images_deleting.delete_selected, images.show_images),
    Page("GET", _IMAGE, images.show_tags),
    Page("GET", f"{_IMAGE}/untagged", images.show_untagged),
    Page("GET", f"{_IMAGE}/details", images.show_details),
    Page("POST", f"{_IMAGE}/mutability", images_editing.change_mutability),
    Page("POST", f"{_IMAGE}/untagged-days", images_editing.change_untagged_days, images.show_details),
    Page("GET", f"{_IMAGE}/edit", images_editing.show_editor),
    Page("POST", f"{_IMAGE}/edit", images_editing.save, images_editing.show_editor),
    Page("POST", f"{_IMAGE}/preview", images_editing.preview),
    Page("GET", f"{_IMAGE}/delete", images_deleting.ask_image),
    Page("POST", f"{_IMAGE}/delete", images_deleting.delete_image),
    Page("GET", f"{_IMAGE}/tags/{{tag}}/delete", images_deleting.ask_tag),
    Page("POST", f"{_IMAGE}/tags/{{tag}}/delete", images_deleting.delete_tag),
    Page("GET", _MANIFEST, images.show_manifest),
    Page("GET", f"{_MANIFEST}/delete", images_deleting.ask_manifest),
    Page("POST", f"{_MANIFEST}/delete", images_deleting.delete_manifest, images.show_manifest),
    Page("GET", f"{_REGISTRY}/deleted", images_deleting.show_deleted),
    Page("POST", f"{_REGISTRY}/deleted/{{deletion}}/restore", images_deleting.restore, images_deleting.show_deleted),
    Page("GET", "/console/accounts", accounts.show_accounts),
    Page("POST", "/console/accounts", accounts.create, accounts.show_accounts),
    Page("GET", _ACCOUNT, accounts.show_account),
    Page("POST", f"{_ACCOUNT}/policies", accounts.change_policies, accounts.show_account),
    Page("POST", f"{_ACCOUNT}/delete", accounts.delete, accounts.show_account),
    Page("GET", "/console/keys", keys.show_keys),
    Page("POST", "/console/keys", keys.create, keys.show_keys),
    Page("GET", _KEY, keys.show_key),
    Page("POST", _KEY, keys.change, keys.show_key),
    Page("POST", f"{_KEY}/rotate", keys.rotate, keys.show_key),
    Page("POST", f"{_KEY}/delete", keys.delete, keys.show_key),
    Page("GET", "/console/audit", audit.show_audit),
)
