"""The management API, independent of HTTP: a request in, an answer out, and never an exception."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gateway.admin.addresses import find_at
from gateway.admin.forms import Nothing, Page
from gateway.admin.openapi import DOCUMENT_PATH, document
from gateway.admin.operations import Call
from gateway.admin.parsing import parse_body, parse_if_match, parse_query, version_tag
from gateway.admin.problems import Answer, answer_to
from gateway.admin.table import OPERATIONS
from gateway.errors import BackendError, ClientError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from gateway.admin.callers import Caller
    from gateway.admin.needs import Services
    from gateway.admin.operations import AnyOperation
    from gateway.admin.requests import Request

_log = logging.getLogger(__name__)
_NOTHING_THERE = f"there is nothing at this address; {DOCUMENT_PATH} lists what there is"
_JSON = {"Content-Type": "application/json", "Cache-Control": "no-store"}


class Management:
    """Answers requests to the management API."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def answer(self, request: Request, caller: Caller) -> Answer:
        """Do what is asked for; whatever goes wrong is an answer too."""
        try:
            return await self._answer(request, caller)
        except ClientError as error:
            return answer_to(error)
        except BackendError as error:
            _log.error("%s %s failed: %s", request.method, request.path, error)
            return answer_to(error)
        except Exception as error:  # noqa: BLE001  (the last line of defence: a bug is answered and logged)
            _log.exception("%s %s failed", request.method, request.path)
            return answer_to(error)

    async def _answer(self, request: Request, caller: Caller) -> Answer:
        operation, variables = find_at(OPERATIONS, request.method, request.path, _NOTHING_THERE)
        caller.require_whole_key()
        call = Call(
            caller=caller,
            services=self._services,
            variables=variables,
            query=parse_query(operation.query, request.query),
            body=parse_body(operation.body, request.content_type, request.body) if operation.has_body else Nothing(),
            expected_version=parse_if_match(request.if_match) if operation.is_conditional else None,
        )
        return _answer_with(operation, await operation.handle(call), request)


def describe() -> Answer:
    """Answer with the OpenAPI document."""
    return Answer(HTTPStatus.OK, {**_JSON, "Cache-Control": "no-cache"}, document())


def _answer_with(operation: AnyOperation, result: BaseModel | None, request: Request) -> Answer:
    if result is None:
        return Answer(operation.status, {"Cache-Control": "no-store"})
    headers = dict(_JSON)
    version = getattr(result, "version", None)
    if version is not None:
        headers["ETag"] = version_tag(version)
    if operation.location is not None:
        headers["Location"] = _filled(operation.location, result)
    if isinstance(result, Page) and result.next is not None:
        headers["Link"] = _next_link(request, result.next)
    return Answer(operation.status, headers, result.model_dump_json().encode())


def _filled(template: str, result: BaseModel) -> str:
    fields: dict[str, Any] = result.model_dump(mode="json")
    return template.format_map({name: quote(str(value), safe="") for name, value in fields.items()})


def _next_link(request: Request, cursor: str) -> str:
    pairs = [*((name, value) for name, value in request.query if name != "cursor"), ("cursor", cursor)]
    query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs)
    return f'<{request.path}?{query}>; rel="next"'
