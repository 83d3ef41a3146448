"""From texts and bytes to forms, with sentences for what does not fit."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ValidationError

from gateway.errors import ChangedMeanwhile, FormatUnsupported, FormTooLarge, ValueRefused, ValuesRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

F = TypeVar("F", bound=BaseModel)

LARGEST_BODY = 256 * 1024
"""Bytes."""
_VERSION_TAG = re.compile(r'"([0-9]{1,18})"', re.ASCII)
_OWN_WORDS = "Value error, "


def parse_body(form: type[F], content_type: str | None, body: bytes) -> F:
    """Read a JSON body; raises FormatUnsupported, FormTooLarge or ValuesRefused."""
    if (content_type or "").partition(";")[0].strip().lower() != "application/json":
        raise FormatUnsupported("the body must be JSON: send it with Content-Type: application/json")
    if len(body) > LARGEST_BODY:
        raise FormTooLarge(f"a body has at most {LARGEST_BODY} bytes")
    try:
        return form.model_validate_json(body)
    except ValidationError as error:
        raise _refusal(error, "body") from None


def parse_query(form: type[F], pairs: Sequence[tuple[str, str]]) -> F:
    """Read a query, in which every parameter may stand once; raises ValuesRefused."""
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueRefused(f"{twice[0]} is given more than once", twice[0])
    try:
        return form.model_validate(dict(pairs))
    except ValidationError as error:
        raise _refusal(error, "query") from None


def parse_if_match(text: str | None) -> int | None:
    """Return the version that an If-Match header names, None if any will do; raises ChangedMeanwhile."""
    if text is None or text.strip() == "*":
        return None
    match = _VERSION_TAG.fullmatch(text.strip())
    if match is None:
        # Whatever this is, it is no tag of ours: RFC 9110 wants the condition to be false then.
        raise ChangedMeanwhile("If-Match names no version of this; send the ETag as it was received")
    return int(match[1])


def version_tag(version: int) -> str:
    """Return the ETag of a version."""
    return f'"{version}"'


def encode_cursor(key: str) -> str:
    """Hide where a page ends; clients must not take it apart."""
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None) -> str | None:
    """Return where the page before has ended, None at the beginning; raises ValueRefused."""
    if cursor is None:
        return None
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError) as error:
        raise ValueRefused("this is no cursor: take `next` of the page before as it is", "cursor") from error


def _refusal(error: ValidationError, whole: str) -> ValuesRefused:
    """Put the validator's findings into sentences."""
    found = [
        (".".join(str(part) for part in each["loc"]) or whole, each["msg"].removeprefix(_OWN_WORDS))
        for each in error.errors()
    ]
    return ValuesRefused(found)
