"""Whether an answer is one that the OpenAPI document promises."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson
from jsonschema import Draft202012Validator

from gateway.admin.openapi import document

if TYPE_CHECKING:
    from collections.abc import Mapping

DOCUMENT: dict[str, Any] = orjson.loads(document())


def check(method: str, path: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Fail unless status, headers and body are documented; what has no operation is a problem all the same."""
    operation = _operation(method, path.partition("?")[0])
    responses = {} if operation is None else operation["responses"]
    # "default" is for faults of the server; what a client can cause has its own line.
    if operation is not None and status < 500:
        assert str(status) in responses, f"{method} {path} may not answer {status}"
    response = responses.get(str(status)) or {
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    }
    if "content" not in response:
        assert body == b"", f"{method} {path} answers {status} without content"
        return
    ((media_type, content),) = response["content"].items()
    assert headers["Content-Type"] == media_type
    validator = Draft202012Validator({**content["schema"], "components": DOCUMENT["components"]})
    validator.validate(orjson.loads(body))
    for name in response.get("headers", {}):
        assert name in headers, f"{method} {path} answers without {name}"


def _operation(method: str, path: str) -> dict[str, Any] | None:
    paths: dict[str, dict[str, dict[str, Any]]] = DOCUMENT["paths"]
    for template, operations in paths.items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path) and method.lower() in operations:
            return operations[method.lower()]
    return None
