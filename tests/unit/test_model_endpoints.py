"""Names of registries, and how their blobs are delivered to whom."""

from __future__ import annotations

import pytest

from gateway.model.endpoints import (
    Delivery,
    DeliveryPolicy,
    DeliveryRule,
    Endpoint,
    check_registry_name,
    is_private_label,
)
from gateway.model.networks import parse_address


@pytest.mark.parametrize("name", ["abc", "a-b", "a--b", "a00", "z" * 30])
def test_names(name: str) -> None:
    """3 to 30 characters that can be a host's label."""
    assert check_registry_name(name) == name


@pytest.mark.parametrize("name", ["", "ab", "z" * 31, "0ab", "-ab", "ab-", "aBc", "a.b", "a_b", "ab\n", "äbc", "a٣b"])
def test_no_names(name: str) -> None:
    with pytest.raises(ValueError, match="3 to 30"):
        check_registry_name(name)


def test_private_labels() -> None:
    """A letter, then 25 letters and digits."""
    assert is_private_label("a" + "0" * 25)
    assert not is_private_label("0" + "a" * 25)
    assert not is_private_label("a" * 25)


@pytest.mark.parametrize("text", ["10.0.0.0/8=proxy", "2001:db8::/32=redirect-public", "192.0.2.1/32=redirect-private"])
def test_rules_are_written_as_they_are_read(text: str) -> None:
    assert DeliveryRule.parse(text).text == text


@pytest.mark.parametrize("text", ["", "10.0.0.0/8", "=proxy", "10.0.0.1/8=proxy", "10.0.0.0/8=redirect", "x=proxy"])
def test_no_rules(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no (rule|network)"):
        DeliveryRule.parse(text)


PUBLIC, PRIVATE = Endpoint.PUBLIC, Endpoint.PRIVATE
RULES = (DeliveryRule.parse("10.1.0.0/16=proxy"), DeliveryRule.parse("10.0.0.0/8=redirect-private"))


@pytest.mark.parametrize(
    ("public", "private", "endpoint", "client", "expected"),
    [
        (Delivery.PROXY, Delivery.PROXY, PUBLIC, "192.0.2.1", None),
        (Delivery.REDIRECT, Delivery.PROXY, PUBLIC, "192.0.2.1", PUBLIC),
        (Delivery.REDIRECT, Delivery.PROXY, PRIVATE, "192.0.2.1", None),
        (Delivery.PROXY, Delivery.REDIRECT, PRIVATE, "192.0.2.1", PRIVATE),
        # A rule is stronger than the endpoint's way, and the first that fits is the only one.
        (Delivery.REDIRECT, Delivery.REDIRECT, PUBLIC, "10.1.2.3", None),
        (Delivery.PROXY, Delivery.PROXY, PUBLIC, "10.2.2.3", PRIVATE),
        # One network or the other; an address of IPv4 may come dressed up as IPv6.
        (Delivery.PROXY, Delivery.PROXY, PUBLIC, "::ffff:10.2.2.3", PRIVATE),
        (Delivery.PROXY, Delivery.PROXY, PUBLIC, "2001:db8::1", None),
    ],
)
def test_delivery(
    public: Delivery, private: Delivery, endpoint: Endpoint, client: str, expected: Endpoint | None
) -> None:
    """By client network first, then by endpoint."""
    policy = DeliveryPolicy(public, private, RULES)

    assert policy.redirects_to(endpoint, parse_address(client)) is expected


def test_whether_anybody_is_redirected() -> None:
    """Rules count."""
    assert not DeliveryPolicy(Delivery.PROXY, Delivery.PROXY, RULES[:1]).ever_redirects
    assert DeliveryPolicy(Delivery.PROXY, Delivery.PROXY, RULES).ever_redirects
    assert DeliveryPolicy(Delivery.PROXY, Delivery.REDIRECT).ever_redirects
