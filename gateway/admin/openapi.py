"""The OpenAPI 3.1 document, made of the operations and the types that validate requests."""

from __future__ import annotations

import re
from functools import cache
from http import HTTPStatus
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import orjson
from pydantic.json_schema import models_json_schema

from gateway.admin.forms import Nothing, Problem
from gateway.admin.problems import PROBLEM_TYPE, status_of
from gateway.admin.table import OPERATIONS
from gateway.errors import ChangedMeanwhile, Forbidden, FormatUnsupported, FormTooLarge, ValueRefused

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.json_schema import JsonSchemaMode

    from gateway.admin.operations import AnyOperation
    from gateway.errors import SlipwayError

Json = dict[str, Any]

DOCUMENT_PATH = "/api/openapi.json"
_REFERENCE = "#/components/schemas/{model}"
_VARIABLES = {
    "repository": "An image; slashes in its name are written %2F.",
    "tag": "A tag.",
    "digest": "Digest of a manifest.",
    "deletion": "Number of a deletion.",
    "registry": "Name of a registry.",
    "account": "Name of an account.",
    "role": "`manager` or `viewer`.",
    "access_key_id": "Id of an access key.",
}
_OF_ITSELF: Json = {
    "operationId": "getDocument",
    "summary": "Show this document; no credentials are asked for",
    "security": [],
    "responses": {
        "200": {"description": "OK", "content": {"application/json": {"schema": {"type": "object"}}}},
        "default": {
            "description": "Whatever went wrong",
            "content": {PROBLEM_TYPE: {"schema": {"$ref": _REFERENCE.format(model=Problem.__name__)}}},
        },
    },
}


@cache
def document() -> bytes:
    """Return the document as JSON."""
    schemas, components = _schemas()
    paths: Json = {DOCUMENT_PATH: {"get": _OF_ITSELF}}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, schemas)
    return orjson.dumps(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Slipway management API",
                "version": version("slipway"),
                "description": "Registries, images, accounts, policies, access keys and the audit log.",
            },
            "paths": paths,
            "components": {
                "schemas": components,
                "securitySchemes": {
                    "accessKey": {
                        "type": "http",
                        "scheme": "basic",
                        "description": "An access key id as user name and its secret key as password.",
                    }
                },
            },
            "security": [{"accessKey": []}],
        }
    )


def _schemas() -> tuple[dict[type[BaseModel], Json], Json]:
    """Return a reference for each type that is sent or received, and the schemas that they refer to."""
    sent = {each.answer for each in OPERATIONS if each.answer is not None} | {Problem}
    received = {each.body for each in OPERATIONS if each.has_body}
    in_order = sorted(sent | received, key=lambda model: model.__name__)
    wanted: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        (model, "serialization" if model in sent else "validation") for model in in_order
    ]
    references, definitions = models_json_schema(wanted, ref_template=_REFERENCE)
    return {model: references[model, mode] for model, mode in wanted}, definitions["$defs"]


def _operation(operation: AnyOperation, schemas: dict[type[BaseModel], Json]) -> Json:
    described: Json = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [*_variables(operation), *_query(operation.query), *_condition(operation)],
        "responses": _responses(operation, schemas),
    }
    if operation.has_body:
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schemas[operation.body]}},
        }
    return described


def _variables(operation: AnyOperation) -> list[Json]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": _VARIABLES[name],
            "schema": {"type": "string", "minLength": 1},
        }
        for name in re.findall(r"\{([a-z_]+)\}", operation.path)
    ]


def _query(form: type[BaseModel]) -> list[Json]:
    whole = form.model_json_schema()
    properties: Json = whole.get("properties", {}) if form is not Nothing else {}
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": schema.get("description", ""),
            "schema": {key: value for key, value in _without_null(schema).items() if key != "description"},
        }
        for name, schema in ((name, _inlined(each, whole)) for name, each in properties.items())
    ]


def _inlined(schema: Json, whole: Json) -> Json:
    """Put the definition of an enumeration where it is used: parameters have no place for definitions."""
    if "$ref" not in schema:
        return schema
    definition: Json = whole["$defs"][schema["$ref"].rpartition("/")[2]]
    return {**definition, **{key: value for key, value in schema.items() if key != "$ref"}}


def _without_null(schema: Json) -> Json:
    """Say that a parameter is left out rather than null, which no query can express."""
    choices = [each for each in schema.get("anyOf", []) if each != {"type": "null"}]
    if len(choices) != 1:
        return schema
    rest = {key: value for key, value in schema.items() if key not in {"anyOf", "default"}}
    return {**rest, **choices[0]}


def _condition(operation: AnyOperation) -> list[Json]:
    if not operation.is_conditional:
        return []
    return [
        {
            "name": "If-Match",
            "in": "header",
            "required": False,
            "description": "The ETag of what was read: nothing changes when somebody else was faster.",
            "schema": {"type": "string"},
        }
    ]


def _responses(operation: AnyOperation, schemas: dict[type[BaseModel], Json]) -> Json:
    success: Json = {"description": operation.status.phrase}
    if operation.answer is not None:
        success["content"] = {"application/json": {"schema": schemas[operation.answer]}}
        headers = _headers(operation)
        if headers:
            success["headers"] = headers
    problem = {"content": {PROBLEM_TYPE: {"schema": schemas[Problem]}}}
    responses: Json = {str(int(operation.status)): success}
    for status in sorted({status_of(each) for each in _errors(operation)} | {HTTPStatus.UNAUTHORIZED}):
        responses[str(int(status))] = {"description": status.phrase, **problem}
    responses["default"] = {"description": "Whatever else went wrong", **problem}
    return responses


def _headers(operation: AnyOperation) -> Json:
    headers: Json = {}
    assert operation.answer is not None
    if "version" in operation.answer.model_fields:
        headers["ETag"] = {"description": "The version.", "schema": {"type": "string"}}
    if operation.location is not None:
        headers["Location"] = {"description": "Address of what was made.", "schema": {"type": "string"}}
    return headers


def _errors(operation: AnyOperation) -> set[type[SlipwayError]]:
    """Return what can go wrong, with what follows from the form of the operation."""
    found: set[type[SlipwayError]] = {Forbidden, *operation.errors}
    if operation.has_body:
        found |= {ValueRefused, FormatUnsupported, FormTooLarge}
    if operation.query is not Nothing:
        found.add(ValueRefused)
    if operation.is_conditional:
        found.add(ChangedMeanwhile)
    return found
