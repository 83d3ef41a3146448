"""What a page must never do: ask another host, complain, or break its own policy. And what axe finds in it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, ConsoleMessage, Page, Request, Response, WebError

AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text(encoding="utf-8")
_SERIOUS = ("serious", "critical")
_LONGEST, _MOST = 160, 3
"""How much of an element is shown, and of how many."""
_TELL = "addEventListener('securitypolicyviolation', e => console.error(`CSP ${e.violatedDirective}: ${e.blockedURI}`))"
_STATUS = re.compile(
    r"(?:Failed to load resource: the server responded with a status of|Response Status Error Code) (\d+)"
)
"""How the browser, and htmx, tell of a refusal."""


@dataclass
class Watch:
    """Keeps what went wrong in the pages of one visitor."""

    origin: str
    faults: list[str] = field(default_factory=list)
    expected: set[int] = field(default_factory=set)
    """Statuses of refusals that the test provokes."""
    received: int = 0
    """Bytes of all answers."""

    async def attend(self, context: BrowserContext) -> None:
        """Listen to everything that happens in a context."""
        await context.add_init_script(_TELL)
        context.on("console", self._hear)
        context.on("weberror", self._see)
        context.on("request", self._follow)
        context.on("response", self._judge)

    def check(self) -> None:
        """Fail if anything went wrong."""
        assert not self.faults, "\n".join(["pages misbehaved:", *self.faults])

    def _hear(self, message: ConsoleMessage) -> None:
        status = _STATUS.match(message.text)
        is_expected = status is not None and int(status[1]) in self.expected
        if message.type in {"error", "warning"} and not is_expected:
            self.faults.append(f"console {message.type}: {message.text} ({message.location})")

    def _see(self, error: WebError) -> None:
        self.faults.append(f"exception: {error.error}")

    def _follow(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme != "data" and f"{parts.scheme}://{parts.netloc}" != self.origin:
            self.faults.append(f"request to another host: {request.url}")

    def _judge(self, response: Response) -> None:
        if response.status >= 400 and response.status not in self.expected:
            self.faults.append(f"{response.request.method} {response.url} answered {response.status}")


async def accessibility_faults(page: Page, *rules: str) -> list[str]:
    """Return what axe finds serious or critical, in sentences: by all rules, or by some."""
    # Evaluated through the debugger, since the page's own policy lets no such script in.
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE)
    options = {"resultTypes": ["violations"], **({"runOnly": list(rules)} if rules else {})}
    found: dict[str, Any] = await page.evaluate("options => axe.run(document, options)", options)
    return [_sentence(each) for each in found["violations"] if each["impact"] in _SERIOUS]


def _sentence(violation: dict[str, Any]) -> str:
    nodes = violation["nodes"]
    places = [f"    {each['html'][:_LONGEST]}\n      {_indented(each['failureSummary'])}" for each in nodes[:_MOST]]
    more = [f"    and in {len(nodes) - _MOST} places more"] if len(nodes) > _MOST else []
    return "\n".join([f"  {violation['impact']}: {violation['help']} ({violation['id']})", *places, *more])


def _indented(text: str) -> str:
    return text.replace("\n", "\n      ")
