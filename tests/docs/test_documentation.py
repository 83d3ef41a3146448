"""Documentation that cannot drift from the code."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import click
import pytest

from gateway.admin.table import OPERATIONS
from gateway.cli import slipway
from gateway.cli.serve import serve
from gateway.config import ACCESS_KEY_ID_VARIABLE, SECRET_KEY_VARIABLE, URL_VARIABLE, Address, Settings

ROOT = Path(__file__).parent.parent.parent
# Settings whose default depends on the machine.
COMPUTED = {"workers", "data_dir", "open"}
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def rows(markdown: str) -> list[list[str]]:
    """Cells of all table rows."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines() if line[:1] == "|"]


def test_every_setting_is_documented() -> None:
    """The configuration table has a row for each setting, no other, in the code's order."""
    names = [cells[0].strip("`") for cells in rows(text("docs/configuration.md")) if cells[0].startswith("`")]

    assert names == [field.name for field in fields(Settings) if field.name != "open"]


def test_documented_options_exist() -> None:
    """The options that the table names are those of the command."""
    documented = {cells[1].strip("`") for cells in rows(text("docs/configuration.md")) if cells[1].startswith("`--")}
    existing = {option for parameter in serve.params for option in parameter.opts}

    assert documented == existing - {"--open", "--config"}
    assert "--open" in text("docs/configuration.md")


def test_documented_defaults_are_the_codes() -> None:
    """Defaults that are plain values are documented as they are."""
    defaults = {cells[0].strip("`"): cells[2].strip("`") for cells in rows(text("docs/configuration.md"))}
    settings = Settings(data_dir=Path("/unused"))

    values = {field.name: getattr(settings, field.name) for field in fields(Settings) if field.name not in COMPUTED}
    plain = {name: str(value) for name, value in values.items() if isinstance(value, str | int | Address)}
    assert {name: defaults[name] for name in plain} == plain


def commands(group: click.Group, name: str = "slipway") -> set[str]:
    """Full names of all commands."""
    found = set()
    for word, command in group.commands.items():
        found |= commands(command, f"{name} {word}") if isinstance(command, click.Group) else {f"{name} {word}"}
    return found


def test_every_command_is_documented() -> None:
    """The table of docs/management.md has a row for each command but `serve`, and no other."""
    cells = [row[0].strip("`").split() for row in rows(text("docs/management.md")) if row[0].startswith("`slipway ")]
    is_name = re.compile(r"[a-z]+(-[a-z]+)*").fullmatch
    names = {" ".join(word for word in words if is_name(word)) for words in cells}

    assert names == commands(slipway) - {"slipway serve"}


def test_every_operation_is_documented() -> None:
    """The table of docs/management.md names the address of each operation, and no other."""
    table = text("docs/management.md").partition("| operation |")[2].partition("\n\n")[0]
    named = set(re.findall(r"/api/[a-z_/{}]+", table))

    assert named == {operation.path for operation in OPERATIONS}


def test_every_variable_that_is_named_exists() -> None:
    """Documentation and what is deployed name settings that there are, and variables of the commands."""
    settings = {f"SLIPWAY_{field.name.upper()}" for field in fields(Settings)}
    known = settings | {"SLIPWAY_CONFIG", URL_VARIABLE, ACCESS_KEY_ID_VARIABLE, SECRET_KEY_VARIABLE}
    # What Kubernetes would make of a service's name, as a warning.
    known |= {"SLIPWAY_PORT"}
    deployed = [path for path in (ROOT / "deploy").rglob("*") if path.is_file()]
    for path in [*PAGES, *deployed, ROOT / "Dockerfile", ROOT / "docker-compose.yml"]:
        named = set(re.findall(r"\bSLIPWAY_[A-Z0-9_]*[A-Z0-9]\b", path.read_text(encoding="utf-8")))
        assert named <= known, path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Relative links point at files that exist."""
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_commands_of_the_readme_are_targets_of_make() -> None:
    """What the README tells people to make can be made."""
    makefile = text("Makefile")

    for target in re.findall(r"^make ([a-z-]+)", text("README.md"), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_test_folder_is_described() -> None:
    """The table of test folders is complete."""
    described = {cells[0].strip("`") for cells in rows(text("docs/testing.md"))}
    folders = {f"tests/{path.name}" for path in (ROOT / "tests").iterdir() if any(path.glob("test_*.py"))}

    assert folders <= described


def test_no_machine_is_named() -> None:
    """Documentation and configuration name no registry host and no path of one machine."""
    for path in [*PAGES, ROOT / "deploy" / "constraints.txt", ROOT / "Makefile"]:
        assert not re.search(r"/(?:work|root)/|index-url", path.read_text(encoding="utf-8")), path
