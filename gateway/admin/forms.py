"""What all bodies, queries and answers of the management API have in common."""

from __future__ import annotations

from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

T = TypeVar("T", bound=BaseModel)

LONGEST_NOTE = 1000
_LARGEST_PAGE = 1000
_USUAL_PAGE = 100

Note = Annotated[str, Field(max_length=LONGEST_NOTE, description="For people; anything.")]


class Form(BaseModel):
    """What a client sends: unknown fields are refused, and nothing is converted on a guess."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _say_nothing_of_defaults(schema: dict[str, Any]) -> None:
    for each in schema["properties"].values():
        each.pop("default", None)


class Patch(Form):
    """New values; what is left out stays as it is, whatever defaults its fields have."""

    model_config = ConfigDict(json_schema_extra=_say_nothing_of_defaults)

    def has(self, field: str) -> bool:
        """Whether the client has sent a field."""
        return field in self.model_fields_set


class Query(BaseModel):
    """What a client asks for behind the question mark, where everything is a text."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class View(BaseModel):
    """What a client gets."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Nothing(BaseModel):
    """No query, or no body."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PageQuery(Query):
    """Which page of a list."""

    limit: int = Field(_USUAL_PAGE, ge=1, le=_LARGEST_PAGE, description="How many entries at most.")
    cursor: str | None = Field(None, max_length=1000, description="Where to go on: `next` of the page before.")


class Page(View, Generic[T]):
    """One page of a list."""

    items: list[T]
    next: str | None = Field(None, description="The cursor of the next page; null on the last one.")


class FieldProblem(View):
    """What is wrong with one field."""

    field: str
    detail: str


class Problem(View):
    """What went wrong (RFC 9457)."""

    type: str = Field(description="Which kind of problem, as a URN.")
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] | None = Field(None, description="The fields that are wrong, where fields are.")
