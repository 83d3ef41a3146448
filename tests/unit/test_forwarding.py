"""Whom forwarded headers are believed, and how far."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.errors import ParameterInvalid
from gateway.http.forwarding import Forwarded, believed
from gateway.model.networks import Networks, parse_address

TRUSTED = Networks.parse(["10.0.0.0/8", "fd00::/8"])
PROXY, CLIENT = "10.0.0.1", "192.0.2.7"


def seen(peer: str, *headers: tuple[str, str]) -> Forwarded:
    return believed(CIMultiDictProxy(CIMultiDict(headers)), parse_address(peer), TRUSTED)


XFF, XFH, XFP, XFPORT = "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port"


@pytest.mark.parametrize(
    ("peer", "headers", "client"),
    [
        (CLIENT, [], CLIENT),
        # Who is no proxy of ours says nothing that is believed.
        (CLIENT, [(XFF, "10.0.0.9")], CLIENT),
        (CLIENT, [("Forwarded", "for=10.0.0.9")], CLIENT),
        (PROXY, [], PROXY),
        (PROXY, [(XFF, CLIENT)], CLIENT),
        (PROXY, [(XFF, f"10.0.0.9, {CLIENT}")], CLIENT),
        (PROXY, [(XFF, f"198.51.100.1, {CLIENT}, 10.2.0.1")], CLIENT),
        (PROXY, [(XFF, "198.51.100.1"), (XFF, CLIENT)], CLIENT),
        (PROXY, [(XFF, "10.9.9.9, 10.2.0.1")], "10.9.9.9"),
        (PROXY, [(XFF, f"{CLIENT}:4711")], CLIENT),
        (PROXY, [(XFF, "[2001:db8::1]:4711")], "2001:db8::1"),
        (PROXY, [(XFF, "2001:db8::1")], "2001:db8::1"),
        (PROXY, [(XFF, "::ffff:192.0.2.7")], CLIENT),
        (PROXY, [(XFF, "unknown")], PROXY),
        (PROXY, [(XFF, f"{CLIENT}, nonsense")], PROXY),
        (PROXY, [(XFF, "")], PROXY),
        ("fd00::1", [(XFF, CLIENT)], CLIENT),
        (PROXY, [("Forwarded", f"for={CLIENT}")], CLIENT),
        (PROXY, [("Forwarded", 'for="[2001:db8::1]:4711";proto=https')], "2001:db8::1"),
        (PROXY, [("Forwarded", f"for=10.0.0.9, for={CLIENT};by=10.0.0.1")], CLIENT),
        (PROXY, [("Forwarded", "for=_hidden")], PROXY),
        (PROXY, [("Forwarded", f"For={CLIENT}"), (XFF, CLIENT)], CLIENT),
    ],
)
def test_clients(peer: str, headers: list[tuple[str, str]], client: str) -> None:
    """The last address that a trusted proxy has not vouched for as one of its own kind."""
    assert seen(peer, *headers).client == parse_address(client)


@pytest.mark.parametrize(
    ("headers", "host", "scheme", "port"),
    [
        ([], None, None, None),
        ([(XFH, "team.example.com:8443"), (XFP, "https")], "team.example.com:8443", "https", None),
        ([(XFH, "team.example.com"), (XFP, "HTTPS"), (XFPORT, "8443")], "team.example.com", "https", "8443"),
        ([(XFP, "ftp"), (XFPORT, "0")], None, None, None),
        ([(XFPORT, "99999999")], None, None, None),
        (
            [("Forwarded", 'for=192.0.2.7;host="team.example.com:8443";proto=https')],
            "team.example.com:8443",
            "https",
            None,
        ),
        # Added by two proxies, of which the outer one has seen what the client asked for.
        ([(XFF, f"{CLIENT}, 10.0.0.2"), (XFP, "gopher, https, http")], None, "https", None),
        # One proxy: what stands before its own entry is the client's invention.
        ([(XFF, CLIENT), (XFH, "evil.example.com, team.example.com")], "team.example.com", None, None),
        # The inner proxy has replaced the list.
        ([(XFF, f"{CLIENT}, 10.0.0.2"), (XFP, "https")], None, "https", None),
    ],
)
def test_what_was_asked_for(
    headers: list[tuple[str, str]], host: str | None, scheme: str | None, port: str | None
) -> None:
    """As the outermost trusted proxy has seen it."""
    found = seen(PROXY, *headers)

    assert (found.host, found.scheme, found.port) == (host, scheme, port)


def test_strangers_say_nothing_about_what_was_asked_for() -> None:
    """A client could name any host and any scheme."""
    headers = [(XFH, "team.example.com"), (XFP, "https"), (XFPORT, "8443"), ("Forwarded", "host=team.example.com")]

    assert seen(CLIENT, *headers) == Forwarded(parse_address(CLIENT))


def test_two_ways_that_contradict() -> None:
    """One of them may be the client's: nobody knows which."""
    with pytest.raises(ParameterInvalid, match="different clients"):
        seen(PROXY, (XFF, CLIENT), ("Forwarded", "for=10.0.0.9"))


@pytest.mark.parametrize("value", ["nonsense", "for=1;;", 'for="open', "=x", "for=1 2"])
def test_what_cannot_be_read(value: str) -> None:
    with pytest.raises(ParameterInvalid, match="RFC 7239"):
        seen(PROXY, ("Forwarded", value))


@given(st.lists(st.tuples(st.sampled_from(["Forwarded", XFF, XFH, XFP, XFPORT]), st.text(max_size=40)), max_size=6))
def test_nothing_but_refusals_comes_of_noise(headers: list[tuple[str, str]]) -> None:
    """Whatever is sent, there is a client, or one kind of refusal."""
    with suppress(ParameterInvalid):
        assert seen(PROXY, *headers).client is not None
