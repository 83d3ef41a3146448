"""Imports flow one way (docs/architecture.md): this table is the rule, and a test guards it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import gateway

PACKAGE = Path(gateway.__file__).parent

# Which rooms a room may import; every room may import itself.
ROOMS: dict[str, set[str]] = {
    "__init__": set(),
    "__main__": {"cli"},
    "errors": set(),
    "background": {"errors"},
    "durable": set(),
    "config": {"errors", "model"},
    "model": {"errors"},
    "ports": {"errors", "model"},
    "services": {"background", "errors", "model", "ports"},
    "http": {"errors", "model", "ports", "services", "transport"},
    "admin": {"errors", "model", "ports", "services", "transport"},
    "console": {"errors", "model", "ports", "services", "admin", "transport"},
    "storage": {"background", "durable", "errors", "model", "ports", "transport"},
    "db": {"durable", "errors", "model", "ports"},
    "transport": {"background", "errors"},
    "telemetry": {"background", "errors", "model", "ports"},
    "app": {
        *(
            "background",
            "errors",
            "config",
            "model",
            "ports",
            "services",
            "http",
            "admin",
            "console",
            "storage",
            "db",
            "transport",
            "telemetry",
        ),
    },
    "cli": {"errors", "config", "model", "admin", "app", "telemetry"},
}

# Which modules may import a library; all others may not.
LIBRARIES: dict[str, tuple[str, ...]] = {
    "asyncpg": ("db/",),
    "aiobotocore": ("storage/s3.py", "storage/s3_client.py"),
    "botocore": ("storage/s3.py", "storage/s3_client.py"),
    "aiohttp": ("http/", "admin/", "console/", "transport/", "app/"),
    "click": ("cli/",),
    "prometheus_client": ("telemetry/",),
    "opentelemetry": ("telemetry/spans.py",),
    "jwt": ("services/",),
    "cryptography": ("services/", "transport/certificate.py"),
    "pydantic": ("admin/", "console/"),
    "jinja2": ("console/",),
    "markupsafe": ("console/",),
    "markdown_it": ("console/",),
    "nh3": ("console/",),
    "rich": ("cli/",),
    "uvloop": ("cli/", "transport/"),
}


def _modules() -> list[str]:
    return sorted(str(file.relative_to(PACKAGE)) for file in PACKAGE.rglob("*.py"))


def _imports(module: str) -> set[str]:
    """Names of everything that a module imports, for type checking too."""
    tree = ast.parse((PACKAGE / module).read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} has a relative import: say where things are"
            assert node.module is not None
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _room(module: str) -> str:
    return module.partition("/")[0].removesuffix(".py")


@pytest.mark.parametrize("module", _modules())
def test_a_room_imports_only_the_rooms_below_it(module: str) -> None:
    """A module imports its own room, and rooms that the table allows."""
    room = _room(module)
    allowed = ROOMS[room] | {room}

    used = {name.split(".")[1] for name in _imports(module) if name.startswith("gateway.")}

    assert used <= allowed, f"{module} imports {used - allowed}"


@pytest.mark.parametrize("module", _modules())
def test_a_library_is_imported_in_its_room_only(module: str) -> None:
    """Libraries that shape a room stay in it."""
    used = {name.split(".")[0] for name in _imports(module)}

    wrong = {library for library, places in LIBRARIES.items() if library in used and not module.startswith(places)}

    assert not wrong, f"{module} imports {wrong}"


def test_every_room_has_a_rule() -> None:
    """A new room must be entered in the table."""
    assert {_room(module) for module in _modules()} == set(ROOMS)
