"""What a browser without scripts does: keeps cookies, reads forms, and sends them."""

from __future__ import annotations

import http.client
import re
import time
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from support.accounts import Key


@dataclass(frozen=True)
class Page:
    """An answer."""

    status: int
    headers: dict[str, list[str]]
    text: str

    @property
    def location(self) -> str:
        """Where it sends the browser."""
        return self.headers["location"][0]

    @property
    def words(self) -> str:
        """What people read, with single spaces."""
        reader = _Words()
        reader.feed(self.text)
        return " ".join(" ".join(reader.found).split())

    def values(self, name: str) -> list[str]:
        """Values of the fields that have this name."""
        reader = _Fields(name)
        reader.feed(self.text)
        return reader.found


@dataclass
class Browser:
    """One browser, with its cookies."""

    host: str
    port: int
    language: str = "en"
    cookies: dict[str, str] = field(default_factory=dict)
    name: str | None = None
    """What is asked for as host; None is the address."""

    @property
    def origin(self) -> str:
        """The address of the console."""
        return f"http://{self.host}:{self.port}"

    def get(self, path: str, **headers: str) -> Page:
        """Open a page."""
        return self.send("GET", path, headers=headers)

    def wait_for(self, path: str, status: int) -> Page:
        """Open a page until it has this status: a change of rights holds within a second."""
        patience = time.monotonic() + 5
        while (page := self.get(path)).status != status:
            assert time.monotonic() < patience, page.status
        return page

    def post(self, path: str, headers: Mapping[str, str] | None = None, /, **fields: Any) -> Page:
        """Send a form as it is, with the token of this session unless another is given."""
        if "form_token" not in fields:
            fields["form_token"] = next(iter(self.get("/console/keys").values("form_token")), "")
        return self.send("POST", path, urlencode(fields, doseq=True), dict(headers or {}))

    def send(self, method: str, path: str, body: str | None = None, headers: dict[str, str] | None = None) -> Page:
        """Send a request and keep what is to be kept."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        sent = {"Accept-Language": self.language, "Accept": "text/html", **(headers or {})}
        if self.name is not None:
            sent.setdefault("Host", self.name)
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if body is not None:
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            found: dict[str, list[str]] = {}
            for name, value in response.getheaders():
                found.setdefault(name.lower(), []).append(value)
            page = Page(response.status, found, response.read().decode())
        finally:
            connection.close()
        for cookie in found.get("set-cookie", []):
            match = re.match(r'([^=]+)="?([^";]*)"?', cookie)
            assert match is not None
            self.cookies[match[1]] = match[2]
            if "Max-Age=0" in cookie:
                del self.cookies[match[1]]
        return page

    def sign_in(self, key: Key) -> Page:
        """Sign in with an access key."""
        return self.post("/console/sign-in", form_token="", access_key_id=key.id, secret_key=key.secret)


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_data(self, data: str) -> None:
        self.found.append(data)


class _Fields(HTMLParser):
    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag in {"input", "button"} and attributes.get("name") == self._name:
            self.found.append(attributes.get("value") or "")
