"""The OpenAPI document: whether it is one, and whether it says what is true."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from gateway.admin.forms import Nothing
from gateway.admin.table import OPERATIONS

from .contract import DOCUMENT

if TYPE_CHECKING:
    from .conftest import Api


def test_it_is_an_openapi_document() -> None:
    """It is valid by the schema of OpenAPI 3.1."""
    validate(DOCUMENT, cls=OpenAPIV31SpecValidator)


async def test_it_is_served_to_everybody(api: Api) -> None:
    """Who has no key yet can read how to use one."""
    reply = await api.send("GET", "/api/openapi.json", key=None)

    assert reply.status == 200
    assert reply.json == DOCUMENT


def test_it_has_every_operation() -> None:
    """Names and addresses are unique, and all are described."""
    described = {
        (method.upper(), path): operation["operationId"]
        for path, operations in DOCUMENT["paths"].items()
        for method, operation in operations.items()
    }
    described.pop(("GET", "/api/openapi.json"))

    assert described == {(each.method, each.path): each.name for each in OPERATIONS}
    assert len(set(described.values())) == len(OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_operations_are_consistent(operation: Any) -> None:
    """What is made has an address with its version; variables are not in the query as well."""
    variables = set(re.findall(r"\{(\w+)\}", operation.path))

    assert (operation.status == 201) == (operation.location is not None)
    assert (operation.status == 204) == (operation.answer is None)
    assert operation.method in {"POST", "PATCH"} if operation.has_body else operation.method != "PATCH"
    assert operation.is_conditional == (operation.method == "PATCH")
    assert not variables & set(operation.query.model_fields)
    assert operation.query is Nothing or operation.method != "POST"


def test_a_patch_promises_no_defaults() -> None:
    """A client generated from the document must not fill in what was left out: that would change it."""
    for operation in OPERATIONS:
        if operation.method == "PATCH":
            schema = DOCUMENT["components"]["schemas"][operation.body.__name__]
            assert not any("default" in each for each in schema["properties"].values())
            assert "required" not in schema
