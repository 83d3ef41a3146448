"""Access keys."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, AwareDatetime, Field

from gateway.admin.forms import Form, Note, Nothing, Page, PageQuery, Patch, View
from gateway.admin.operations import AnyOperation, Call, Operation
from gateway.admin.paging import cut_page
from gateway.errors import Forbidden, NothingKnown
from gateway.model.access import Action
from gateway.model.patterns import check_pattern
from gateway.ports.accounts import KeyChange, KeyRequest

if TYPE_CHECKING:
    from gateway.ports.accounts import KeyRecord

_MOST_PATTERNS = 100
_LONGEST_CHANGEOVER = 30 * 24 * 3600

_Actions = Annotated[
    list[Annotated[Action, Field(strict=False)]] | None,
    Field(min_length=1, description="Narrows the key to these; null is no narrowing."),
]
_Patterns = Annotated[
    list[Annotated[str, AfterValidator(check_pattern), Field(examples=["team/*"])]] | None,
    Field(
        min_length=1,
        max_length=_MOST_PATTERNS,
        description="Narrows the key to repositories: * is anything within a component, ** also slashes; "
        "null is no narrowing.",
    ),
]
_Expiry = Annotated[AwareDatetime | None, Field(strict=False, description="null is never.")]


class NewKey(Form):
    """A key to be made."""

    account: str = Field(description="Whose key it is to be.")
    note: Note = ""
    actions: _Actions = None
    repositories: _Patterns = None
    expires_at: _Expiry = None


class KeyPatch(Patch):
    """What is to become of a key."""

    note: Note = ""
    disabled: bool = False
    actions: _Actions = None
    repositories: _Patterns = None
    expires_at: _Expiry = None


class KeyRotation(Form):
    """How a key gets a new secret."""

    keep_old_seconds: int = Field(
        0, ge=0, le=_LONGEST_CHANGEOVER, description="How long the old secret goes on working beside the new one."
    )


class KeyView(View):
    """An access key."""

    access_key_id: str
    account: str
    note: str
    actions: list[Action] | None
    repositories: list[str] | None
    disabled: bool
    expires_at: datetime | None
    last_used_at: datetime | None
    last_used_from: str | None
    created_at: datetime
    version: int = Field(description="Counts changes; the ETag.")


class KeyWithSecret(KeyView):
    """An access key with its secret, which is shown this once."""

    secret_key: str


class KeyPage(Page[KeyView]):
    """Access keys, by id."""


class KeyQuery(PageQuery):
    """Which keys are wanted."""

    account: str | None = Field(None, description="Those of one account.")


async def list_keys(call: Call[KeyQuery, Nothing]) -> KeyPage:
    """List the keys that the caller may see."""
    keys = await call.services.accounts.list_keys(call.caller.key, call.query.account)
    page, after = cut_page(keys, lambda each: each.access_key_id, call.query)
    return KeyPage(items=[_view(each) for each in page], next=after)


async def create_key(call: Call[Nothing, NewKey]) -> KeyWithSecret:
    """Make a key."""
    wanted = call.body
    request = KeyRequest(
        note=wanted.note,
        actions=_actions(wanted.actions),
        repositories=_patterns(wanted.repositories),
        expires_at=wanted.expires_at,
    )
    made, secret = await call.services.accounts.create_key(call.caller.actor, call.caller.key, wanted.account, request)
    return _with_secret(made, secret)


async def get_key(call: Call[Nothing, Nothing]) -> KeyView:
    """Show a key."""
    return _view(await call.services.accounts.get_key(call.caller.key, call.variables["access_key_id"]))


async def update_key(call: Call[Nothing, KeyPatch]) -> KeyView:
    """Change a key."""
    caller = call.caller
    changed = await call.services.accounts.update_key(
        caller.actor, caller.key, call.variables["access_key_id"], _change(call.body), call.expected_version
    )
    return _view(changed)


async def rotate_key(call: Call[Nothing, KeyRotation]) -> KeyWithSecret:
    """Give a key a new secret."""
    caller = call.caller
    rotated, secret = await call.services.accounts.rotate_key(
        caller.actor, caller.key, call.variables["access_key_id"], call.body.keep_old_seconds
    )
    return _with_secret(rotated, secret)


async def delete_key(call: Call[Nothing, Nothing]) -> None:
    """Delete a key."""
    await call.services.accounts.delete_key(call.caller.actor, call.caller.key, call.variables["access_key_id"])


def _actions(given: list[Action] | None) -> frozenset[Action] | None:
    return None if given is None else frozenset(given)


def _patterns(given: list[str] | None) -> tuple[str, ...] | None:
    return None if given is None else tuple(given)


def _change(patch: KeyPatch) -> KeyChange:
    change = KeyChange()
    if patch.has("note"):
        change["note"] = patch.note
    if patch.has("disabled"):
        change["disabled"] = patch.disabled
    if patch.has("actions"):
        change["actions"] = _actions(patch.actions)
    if patch.has("repositories"):
        change["repositories"] = _patterns(patch.repositories)
    if patch.has("expires_at"):
        change["expires_at"] = patch.expires_at
    return change


def _view(record: KeyRecord) -> KeyView:
    return KeyView(
        access_key_id=record.access_key_id,
        account=record.account,
        note=record.note,
        actions=None if record.actions is None else sorted(record.actions),
        repositories=None if record.repositories is None else list(record.repositories),
        disabled=record.disabled,
        expires_at=record.expires_at,
        last_used_at=record.last_used_at,
        last_used_from=record.last_used_from,
        created_at=record.created_at,
        version=record.version,
    )


def _with_secret(record: KeyRecord, secret: str) -> KeyWithSecret:
    return KeyWithSecret(**_view(record).model_dump(), secret_key=secret)


OPERATIONS: tuple[AnyOperation, ...] = (
    Operation(
        name="listKeys",
        method="GET",
        path="/api/keys",
        summary="List the access keys that the caller may see",
        handle=list_keys,
        query=KeyQuery,
        body=Nothing,
        answer=KeyPage,
        errors=(Forbidden, NothingKnown),
    ),
    Operation(
        name="createKey",
        method="POST",
        path="/api/keys",
        summary="Make an access key; the answer alone has its secret",
        handle=create_key,
        query=Nothing,
        body=NewKey,
        answer=KeyWithSecret,
        status=HTTPStatus.CREATED,
        errors=(Forbidden, NothingKnown),
        location="/api/keys/{access_key_id}",
    ),
    Operation(
        name="getKey",
        method="GET",
        path="/api/keys/{access_key_id}",
        summary="Show an access key",
        handle=get_key,
        query=Nothing,
        body=Nothing,
        answer=KeyView,
        errors=(Forbidden, NothingKnown),
    ),
    Operation(
        name="updateKey",
        method="PATCH",
        path="/api/keys/{access_key_id}",
        summary="Disable, narrow, describe or end an access key; what is left out stays as it is",
        handle=update_key,
        query=Nothing,
        body=KeyPatch,
        answer=KeyView,
        errors=(Forbidden, NothingKnown),
        is_conditional=True,
    ),
    Operation(
        name="rotateKey",
        method="POST",
        path="/api/keys/{access_key_id}/rotate",
        summary="Give an access key a new secret; the answer alone has it",
        handle=rotate_key,
        query=Nothing,
        body=KeyRotation,
        answer=KeyWithSecret,
        errors=(Forbidden, NothingKnown),
    ),
    Operation(
        name="deleteKey",
        method="DELETE",
        path="/api/keys/{access_key_id}",
        summary="Delete an access key",
        handle=delete_key,
        query=Nothing,
        body=Nothing,
        answer=None,
        status=HTTPStatus.NO_CONTENT,
        errors=(Forbidden, NothingKnown),
    ),
)
