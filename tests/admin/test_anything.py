"""Whatever is sent, the answer is one that the document promises, and never a fault of the server."""

from __future__ import annotations

import asyncio
import re
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.admin.callers import Caller
from gateway.admin.dispatch import Management
from gateway.admin.requests import Request
from gateway.admin.table import OPERATIONS
from gateway.model.access import Actor

from .contract import check
from .memory import Memory

TEXTS = st.text(max_size=20)
LIKELY = st.sampled_from(
    [
        *("team", "other", "root", "manager", "viewer", "pull", "proxy", "redirect", "public", "10.0.0.0/8", "::/0"),
        *("2030-01-01T00:00:00Z", "done", "ci/**", "free-bucket", "1"),
    ]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS | LIKELY
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3))


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
@given(data=st.data())
@settings(max_examples=60)
def test_any_request_gets_an_answer_that_is_documented(operation: Any, data: st.DataObject) -> None:
    """Known fields with any values, unknown ones, and bytes that are nothing at all."""
    fields = st.fixed_dictionaries({}, optional=dict.fromkeys(operation.body.model_fields, VALUES))
    parameters = st.fixed_dictionaries({}, optional=dict.fromkeys(operation.query.model_fields, TEXTS | LIKELY))
    path = re.sub(r"\{\w+\}", lambda _: quote(data.draw(TEXTS.filter(bool) | LIKELY), safe=""), operation.path)
    body = b""
    if operation.has_body:
        body = data.draw(st.one_of(fields.map(_encoded), fields.map(_encoded), VALUES.map(_encoded), st.binary()))
    request = Request(
        method=operation.method,
        path=path,
        query=tuple(data.draw(parameters).items()),
        content_type="application/json",
        if_match=data.draw(st.none() | st.just('"1"') | TEXTS),
        body=body,
    )

    answer = asyncio.run(Management(Memory().services).answer(request, Caller(Actor(None, "local"), key=None)))

    assert answer.status < 500
    check(request.method, request.path, answer.status, {**answer.headers}, answer.body)


def _encoded(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except (TypeError, orjson.JSONEncodeError):
        return repr(value).encode("utf-8", "replace")
