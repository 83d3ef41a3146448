"""What an operation of the management API is.

Each module of this room that handles things ends with its table of operations; ``table.py`` joins them. An entry there
is all that a new operation needs: dispatch, validation and the OpenAPI document follow from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel

from gateway.admin.forms import Nothing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gateway.admin.callers import Caller
    from gateway.admin.needs import Services
    from gateway.errors import SlipwayError

Q = TypeVar("Q", bound=BaseModel)
B = TypeVar("B", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Call(Generic[Q, B]):
    """One request, with everything in it parsed."""

    caller: Caller
    services: Services
    variables: Mapping[str, str]
    """The variable parts of the address, decoded."""
    query: Q
    body: B
    expected_version: int | None
    """The version that the client has seen (If-Match); None when it does not care."""


@dataclass(frozen=True, slots=True)
class Operation(Generic[Q, B]):
    """One thing that the management API can do."""

    name: str
    """Unique: the operationId."""
    method: str
    path: str
    """With variable parts in braces."""
    summary: str
    handle: Callable[[Call[Q, B]], Awaitable[BaseModel | None]]
    query: type[Q]
    body: type[B]
    answer: type[BaseModel] | None
    """None is an answer without content. One with a field ``version`` gets an ETag of it."""
    status: HTTPStatus = HTTPStatus.OK
    errors: tuple[type[SlipwayError], ...] = ()
    """What can go wrong beyond what always can."""
    location: str | None = None
    """Address of what was created, with fields of the answer in braces."""
    is_conditional: bool = False
    """Whether it honours If-Match."""

    @property
    def has_body(self) -> bool:
        """Whether a request carries JSON."""
        return self.body is not Nothing


AnyOperation = Operation[Any, Any]
