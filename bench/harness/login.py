"""Logging in, as clients do: a token for each repository, sent along with every request."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field
from urllib.parse import urlencode

from bench.harness.http import Connection

_REPOSITORY = re.compile(r"/v2/(.+)/(manifests|blobs|tags|referrers)/")


@dataclass(slots=True)
class Login:
    """An access key, and the tokens that it was given."""

    url: str
    access_key_id: str
    secret_key: str = field(repr=False)
    _tokens: dict[str, str] = field(default_factory=dict, repr=False)

    def authorization(self, target: str) -> str:
        """Return the header for a request, getting a token when it is the first for its repository."""
        match = _REPOSITORY.match(target)
        if match is None:
            raise ValueError(f"{target} is no address in a repository")
        repository = match[1]
        if repository not in self._tokens:
            self._tokens[repository] = self._token(f"repository:{repository}:pull,push,delete")
        return f"Bearer {self._tokens[repository]}"

    def _token(self, scope: str) -> str:
        credentials = base64.b64encode(f"{self.access_key_id}:{self.secret_key}".encode()).decode()
        connection = Connection(self.url)
        try:
            head = connection.request(
                "GET", f"/token?{urlencode({'scope': scope})}", {"Authorization": f"Basic {credentials}"}
            )
            body = connection.body()
        finally:
            connection.close()
        if head.status != 200:
            raise ValueError(f"no token for {scope}: {head.status} {body[:500]!r}")
        return str(json.loads(body)["token"])
