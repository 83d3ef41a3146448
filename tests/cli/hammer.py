"""Clients that never pause, while something is done to the server that nobody may notice."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cli.registry import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from http.client import HTTPConnection


class Hammer:
    """Requests without a pause, on new connections and on kept ones; every failure is kept."""

    def __init__(self, connect: Callable[[], HTTPConnection], host: str = "localhost") -> None:
        self._connect = connect
        self._host = host
        self._stop = threading.Event()
        self.answered = 0
        self.failures: list[str] = []

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Hammer as long as the context lasts, and expect no failure."""
        threads = [threading.Thread(target=self._hammer, args=(keep,)) for keep in (False, True, True)]
        for thread in threads:
            thread.start()
        try:
            eventually(lambda: self.answered > 10, "the first answers")
            yield
            before = self.answered
            eventually(lambda: self.answered > before + 10 or bool(self.failures), "further answers")
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()
        assert self.failures == []

    def _hammer(self, keep: bool) -> None:
        connection = self._connect()
        while not self._stop.is_set():
            try:
                headers = {"Host": self._host, **({} if keep else {"Connection": "close"})}
                connection.request("GET", "/v2/_catalog", headers=headers)  # a worker needs the database for it
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    self.failures.append(f"status {answer.status}")
                self.answered += 1
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a failure
                self.failures.append(repr(error))
                connection.close()
        connection.close()
