"""What a start says of itself, by its settings."""

from __future__ import annotations

import pytest

from gateway.app.service import Start
from gateway.cli.greeting import greeting, root_key
from gateway.config import Address, load

DOMAINS = {
    "SLIPWAY_PUBLIC_DOMAIN": "registry.example.com",
    "SLIPWAY_PRIVATE_DOMAIN": "internal.example.com",
    "SLIPWAY_CONSOLE_HOST": "console.example.com",
}


def started(environment: dict[str, str], host: str = "127.0.0.1", scheme: str = "http", port: int = 5000) -> Start:
    """Start with these settings."""
    return Start(load(environment), Address(host, port), scheme)


@pytest.mark.parametrize(
    ("listen", "reached"),
    [
        ("127.0.0.1", "127.0.0.1:5000"),
        ("192.0.2.7", "192.0.2.7:5000"),
        ("0.0.0.0", "127.0.0.1:5000"),
        ("::", "[::1]:5000"),
    ],
)
def test_without_domains_everything_is_at_the_address(listen: str, reached: str) -> None:
    """Where it listens on all addresses, clients connect to that of this machine."""
    start = started({}, listen)

    assert f"\n  docker push {reached}/hello/alpine\n" in greeting(start)
    assert f"\nThe console is at http://{reached}/ in a browser.\n" in greeting(start)
    assert f"\n  docker login -u id -p secret {reached}\n" in root_key(start, "id", "secret")


def test_with_domains_a_registry_is_to_be_made_first() -> None:
    """Nothing can be pushed to a host that no registry has, and the console has a host of its own."""
    start = started(DOMAINS)

    said = greeting(start)

    assert "\nRegistries are at NAME.registry.example.com:5000. " in said
    assert "\n  slipway registry create NAME --bucket BUCKET\n" in said
    assert "docker push" not in said
    assert "\nThe console is at http://console.example.com:5000/ in a browser.\n" in said
    assert "\n  docker login -u id NAME.registry.example.com:5000\n" in root_key(start, "id", None)


def test_a_default_registry_is_at_its_public_host() -> None:
    """It can be pushed to at once."""
    said = greeting(started(DOMAINS | {"SLIPWAY_DEFAULT_REGISTRY": "team"}))

    assert "\n  docker push team.registry.example.com:5000/hello/alpine\n" in said


@pytest.mark.parametrize(
    "setting",
    [
        {"SLIPWAY_PUBLIC_SCHEME": "https"},
        {"SLIPWAY_PUBLIC_SCHEME": "https", "SLIPWAY_TRUSTED_PROXIES": "10.0.0.0/8"},
    ],
)
def test_behind_a_load_balancer_its_port_counts(setting: dict[str, str]) -> None:
    """It is not known, and usually that of its scheme."""
    said = greeting(started(DOMAINS | setting))

    assert " at NAME.registry.example.com. " in said
    assert " at https://console.example.com/ " in said


def test_the_port_of_the_scheme_is_left_out() -> None:
    """As clients do."""
    said = greeting(started(DOMAINS, scheme="https", port=443))

    assert " at NAME.registry.example.com. " in said
    assert " at https://console.example.com/ " in said


@pytest.mark.parametrize(
    ("setting", "registry", "console"),
    [
        ({}, "registry.example.com:5000", "http://registry.example.com:5000/"),
        ({"SLIPWAY_PUBLIC_SCHEME": "https"}, "registry.example.com", "https://registry.example.com/"),
    ],
)
def test_a_name_without_domains(setting: dict[str, str], registry: str, console: str) -> None:
    """It is where clients go, rather than the address behind it."""
    said = greeting(started({"SLIPWAY_HOST_NAMES": "registry.example.com,other.example.com"} | setting))

    assert f"\n  docker push {registry}/hello/alpine\n" in said
    assert f"\nThe console is at {console} in a browser.\n" in said


def test_private_endpoints_alone() -> None:
    """Their hosts begin with a label that nobody chooses."""
    assert " at LABEL.internal.example.com:5000. " in greeting(
        started({"SLIPWAY_PRIVATE_DOMAIN": "internal.example.com"})
    )


def test_a_console_that_is_nowhere_is_said() -> None:
    """With the setting that would give it a host."""
    said = greeting(started({"SLIPWAY_PUBLIC_DOMAIN": "registry.example.com"}))

    assert said.endswith("\nThere is no console: with domains it needs a host of its own, SLIPWAY_CONSOLE_HOST.\n")


def test_an_open_start_says_so() -> None:
    """Nobody should be surprised by that."""
    settings = load({}, None, {"open": True})

    assert "(open to everybody on this machine; stop it with Ctrl-C)" in greeting(
        Start(settings, Address("127.0.0.1", 5000), "http")
    )
