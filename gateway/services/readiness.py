"""Whether this process may be sent requests: a load balancer asks every second or two, of each process."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import SlipwayError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    Check = Callable[[], Awaitable[None]]

_log = logging.getLogger(__name__)

_SECONDS_OF_TRUTH = 2.0
"""How long an answer is given again without looking."""
_SECONDS_TO_ANSWER = 3.0
"""What takes longer is not ready; less than a load balancer waits."""
_SERVICE = "service"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which parts are ready."""

    parts: Mapping[str, str]
    """What is said of each; reasons are for the log, since anybody may ask."""
    is_ready: bool


class Readiness:
    """Looks at what the process needs, at most once in two seconds however many ask."""

    def __init__(self, checks: Mapping[str, Check], is_draining: Callable[[], bool]) -> None:
        """Take the parts, each with what raises when it is not ready."""
        self._checks = checks
        self._is_draining = is_draining
        self._running: dict[str, asyncio.Task[None]] = {}
        self._look: asyncio.Task[Mapping[str, bool]] | None = None
        self._looked = 0.0
        self._reasons: dict[str, str] = {}

    async def verdict(self) -> Verdict:
        """Say what is ready; while the service drains nothing else counts, and nothing is looked at."""
        if self._is_draining():
            return Verdict({_SERVICE: "draining"}, is_ready=False)
        now = asyncio.get_running_loop().time()
        if self._look is None or (self._look.done() and now - self._looked >= _SECONDS_OF_TRUTH):
            self._look = asyncio.create_task(self._look_at_all())
        # Others wait for the same answer.
        found = await asyncio.shield(self._look)
        parts = {name: "ready" if is_ready else "not ready" for name, is_ready in found.items()}
        return Verdict({**parts, _SERVICE: "ready"}, is_ready=all(found.values()))

    async def _look_at_all(self) -> Mapping[str, bool]:
        for name, check in self._checks.items():
            # One that hangs is not repeated before it has ended.
            if name not in self._running:
                self._running[name] = asyncio.create_task(_do(check))
        await asyncio.wait(self._running.values(), timeout=_SECONDS_TO_ANSWER)
        found = {name: self._is_good(name) for name in self._checks}
        self._looked = asyncio.get_running_loop().time()
        return found

    def _is_good(self, name: str) -> bool:
        """Tell how a part is, and log when that changes."""
        before = self._reasons.pop(name, None)
        reason = self._reason(name)
        if reason is None:
            if before is not None:
                _log.info("the %s is ready again", name)
            return True
        self._reasons[name] = reason
        if before is None:
            _log.warning("the %s is not ready: %s", name, reason)
        return False

    def _reason(self, name: str) -> str | None:
        """Return why a part is not ready."""
        if not self._running[name].done():
            return f"it has not answered for {_SECONDS_TO_ANSWER:.0f} seconds"
        error = self._running.pop(name).exception()
        if error is None or isinstance(error, SlipwayError):
            return str(error) if error else None
        return repr(error)


async def _do(check: Check) -> None:
    await check()
