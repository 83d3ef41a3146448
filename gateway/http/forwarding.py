"""What trusted proxies say about a request: who the client is, and what it has asked for (RFC 7239, and X-Forwarded-*).

Each proxy adds what it knows at the end of a list. Entries are read from there, as far as proxies are trusted: what
stands before them may be the client's own invention.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from gateway.errors import ParameterInvalid
from gateway.model.networks import parse_address

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from multidict import CIMultiDictProxy

    from gateway.model.networks import IpAddress, Networks

_PAIR = re.compile(r'\s*([A-Za-z]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s",;]*)\s*(;|,|\Z)')
_WITH_PORT = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_SCHEMES = frozenset({"http", "https"})

address_of = lru_cache(maxsize=4096)(parse_address)


@dataclass(frozen=True, slots=True)
class Forwarded:
    """What is believed of a request; None is what no trusted proxy has said."""

    client: IpAddress
    host: str | None = None
    """As in the header Host."""
    scheme: str | None = None
    port: str | None = None


def believed(headers: CIMultiDictProxy[str], peer: IpAddress, trusted: Networks) -> Forwarded:
    """Return what trusted proxies say; raises ParameterInvalid when two ways to say it name different clients.

    A proxy sets one of the ways and may pass the other on as the client has sent it: which one that is nobody knows.
    """
    if peer not in trusted:
        return Forwarded(peer)
    entries = _entries(headers.getall("Forwarded", ()))
    usual = _list(headers, "X-Forwarded-For")
    named = [entry["for"] for entry in entries if "for" in entry]
    client, hops = _client(named or usual, peer, trusted)
    if named and usual and _client(usual, peer, trusted)[0] != client:
        raise ParameterInvalid("Forwarded and X-Forwarded-For name different clients: let the proxy send one of them")
    scheme = (_last([e["proto"] for e in entries if "proto" in e], hops) or _of(headers, "Proto", hops) or "").lower()
    port = _of(headers, "Port", hops)
    return Forwarded(
        client,
        _last([entry["host"] for entry in entries if "host" in entry], hops) or _of(headers, "Host", hops),
        scheme if scheme in _SCHEMES else None,
        port if port and _PORT.fullmatch(port) else None,
    )


def _client(said: Sequence[str], peer: IpAddress, trusted: Networks) -> tuple[IpAddress, int]:
    """Walk back along trusted proxies; return the first that is none, and how many proxies there are."""
    client, hops = peer, 0
    for text in reversed(said):
        if client not in trusted:
            break
        hops += 1
        address = _parsed(text)
        if address is None:
            # It hides itself, or nobody knows it: all that is known is the proxy that says so.
            break
        client = address
    return client, max(hops, 1)


def _parsed(text: str) -> IpAddress | None:
    match = _WITH_PORT.fullmatch(text)
    try:
        return address_of((match[1] or match[2]) if match else text)
    except ValueError:
        return None


def _of(headers: CIMultiDictProxy[str], name: str, hops: int) -> str | None:
    return _last(_list(headers, f"X-Forwarded-{name}"), hops)


def _list(headers: CIMultiDictProxy[str], name: str) -> list[str]:
    values = headers.getall(name, ())
    return [part for value in values for each in value.split(",") if (part := each.strip())]


def _last(values: Sequence[str], hops: int) -> str | None:
    """Return what the outermost trusted proxy has said; one that replaces the list leaves a single value."""
    return values[-min(hops, len(values))] if values else None


def _entries(values: Sequence[str]) -> Sequence[Mapping[str, str]]:
    """Read Forwarded: an entry per proxy, the names of its parameters in lower case; raises ParameterInvalid."""
    entries: list[dict[str, str]] = []
    for value in values:
        entries.append({})
        place = 0
        while place < len(value):
            match = _PAIR.match(value, place)
            if match is None:
                raise ParameterInvalid("the header Forwarded is not written as RFC 7239 says")
            entries[-1][match[1].lower()] = _unquoted(match[2])
            if match[3] == ",":
                entries.append({})
            place = match.end()
    return entries


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text
