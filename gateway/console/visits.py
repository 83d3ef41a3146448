"""A visit: one request of a browser, with everything in it parsed, and the ways to answer it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import orjson
from pydantic import BaseModel

from gateway.admin.forms import Nothing
from gateway.admin.operations import Call
from gateway.admin.parsing import parse_body, parse_query
from gateway.errors import ChangedMeanwhile, CredentialsWrong, ValueRefused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from gateway.admin.callers import Caller
    from gateway.admin.needs import Services
    from gateway.console.rendering import Rendering
    from gateway.console.sessions import Session
    from gateway.console.texts import Texts
    from gateway.errors import SlipwayError

A = TypeVar("A")
F = TypeVar("F", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Cookie:
    """What a browser is to keep; it is never shown to scripts, nor sent with forms of other sites."""

    name: str
    value: str
    seconds: int | None = None
    """How long; None is until the browser is closed, 0 is no longer."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer to a browser."""

    status: HTTPStatus
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cookie: Cookie | None = None


@dataclass(frozen=True, slots=True)
class Visit:
    """One request."""

    visitor: Caller | None
    """None is somebody who has not signed in."""
    services: Services
    session: Session | None
    """None under ``--open``, and where nobody has signed in."""
    texts: Texts
    rendering: Rendering
    origin: str
    """Scheme, host and port as the browser sees them."""
    path: str
    """Undecoded."""
    variables: Mapping[str, str]
    """The variable parts of the address, decoded."""
    query: Sequence[tuple[str, str]]
    fields: Sequence[tuple[str, str]] = ()
    """What a form has sent."""
    failure: SlipwayError | None = None
    """Why the form that was sent is shown again."""

    @property
    def caller(self) -> Caller:
        """Who asks the management API; raises CredentialsWrong where nobody has signed in."""
        if self.visitor is None:
            raise CredentialsWrong("this takes somebody who has signed in")
        return self.visitor

    @property
    def is_open(self) -> bool:
        """Whether everybody may do everything (``--open``)."""
        return self.visitor is not None and self.visitor.key is None

    # --- what was sent ---------------------------------------------------------------------------

    def asked(self, name: str, default: str = "") -> str:
        """Return the first value of a query parameter."""
        return next((value for key, value in self.query if key == name), default)

    def sent(self, name: str, default: str = "") -> str:
        """Return the first value of a form's field, without space around it."""
        return next((value.strip() for key, value in self.fields if key == name), default)

    def all_sent(self, name: str) -> list[str]:
        """Return all values of a form's field."""
        return [value for key, value in self.fields if key == name]

    def lines_sent(self, name: str) -> list[str]:
        """Return what was written into a text area, line by line."""
        return [line.strip() for line in self.sent(name).splitlines() if line.strip()]

    def is_to_mend(self, *parts: str) -> bool:
        """Whether the form that is sent to this address shows what was typed, instead of what holds.

        Where somebody else was faster, it shows what holds: what was typed would overwrite that when it is sent again.
        """
        is_mendable = self.failure is not None and not isinstance(self.failure, ChangedMeanwhile)
        return is_mendable and self.path == address(*parts)

    def require_typed(self, name: str) -> None:
        """Let those pass who have typed a name once more; raises ValueRefused."""
        if self.sent("confirm") != name:
            raise ValueRefused(self.texts("registry.confirm_wrong", name=name), "confirm")

    # --- the management API ----------------------------------------------------------------------

    async def ask(
        self,
        operation: Callable[[Call[Any, Any]], Awaitable[A]],
        *,
        query: BaseModel | None = None,
        body: BaseModel | None = None,
        version: int | None = None,
        **variables: str,
    ) -> A:
        """Do what an operation of the management API does, with its rules of who may; raises what it raises."""
        return await operation(
            Call(
                caller=self.caller,
                services=self.services,
                variables={**self.variables, **variables},
                query=query or Nothing(),
                body=body or Nothing(),
                expected_version=version,
            )
        )

    def body(self, form: type[F], **values: Any) -> F:
        """Check values as the management API checks a body; raises ValuesRefused."""
        return parse_body(form, "application/json", orjson.dumps(values))

    def page_query(self, form: type[F], *names: str, **values: str) -> F:
        """Check the parameters of this name, and the cursor, as the management API checks a query."""
        pairs = {name: value for name, value in self.query if name in {*names, "cursor"} and value}
        return parse_query(form, [*{**pairs, **values}.items()])

    # --- answers ---------------------------------------------------------------------------------

    def page(self, template: str, status: HTTPStatus = HTTPStatus.OK, **values: Any) -> Reply:
        """Answer with a page."""
        return self.rendering.page(self, template, status, values)

    def go(self, path: str, said: str = "", **values: str) -> Reply:
        """Send the browser to another page, which says what was done: the name of a text, and what it names."""
        query = urlencode({"said": said, **values}) if said else ""
        return see(f"{path}?{query}" if query else path)

    def here(self, **parameters: str | None) -> str:
        """Return this page's address with other parameters, without what was said and where a page began."""
        kept = {name: value for name, value in self.query if name not in {"said", "name", "cursor"}}
        pairs = {name: value for name, value in {**kept, **parameters}.items() if value}
        return f"{self.path}?{urlencode(pairs)}" if pairs else self.path

    @property
    def host(self) -> str:
        """The host and port as the browser sees them."""
        return urlsplit(self.origin).netloc


def all_of(form: type[F], **values: str) -> F:
    """Return a query for as much of a list as one page holds: what stands in a choice, not in a table."""
    return parse_query(form, [("limit", "1000"), *values.items()])


def day_of(text: str, field: str) -> datetime | None:
    """Return the begin, in UTC, of a day that a browser's date field names; None for an empty one.

    Raises ValueRefused about ``field``.
    """
    if not text:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise ValueRefused("a day is written like 2026-12-31", field) from error


def see(path: str, cookie: Cookie | None = None) -> Reply:
    """Send the browser to another page."""
    return Reply(HTTPStatus.SEE_OTHER, {"Location": path}, cookie=cookie)


def address(*parts: str) -> str:
    """Return the path of a page; a slash in a part is written %2F."""
    return "/console/" + "/".join(quote(part, safe="") for part in parts)
