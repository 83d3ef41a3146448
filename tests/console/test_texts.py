"""Translations: complete in each language, and all in use."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest

import gateway.console
from gateway.console.rendering import PROBLEMS
from gateway.console.texts import LANGUAGES, chosen_language, texts_of
from gateway.errors import SlipwayError

CONSOLE = Path(gateway.console.__file__).parent


def test_languages_have_the_same_texts() -> None:
    """With the same places in each."""
    english = texts_of("en").by_key
    for language in LANGUAGES:
        other = texts_of(language).by_key
        assert other.keys() == english.keys()
        for key, text in other.items():
            assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", english[key])), key


def test_what_is_used_exists() -> None:
    """A page whose text is missing would be an error for somebody."""
    sources = [*CONSOLE.rglob("*.html"), *CONSOLE.rglob("*.py")]
    call = re.compile(r"""\b(?:t|texts)\(\s*["']([a-z_]+(?:\.[a-z_]+)*)["'](?:\s*[,)]|\s+if)""")
    used = {key for each in sources for key in call.findall(each.read_text("utf-8"))}
    assert len(used) > 100
    assert used <= texts_of("en").by_key.keys()


@pytest.mark.parametrize(
    ("cookie", "header", "language"),
    [
        (None, None, "en"),
        ("ko", "en", "ko"),
        ("xx", "ko", "ko"),
        (None, "ko-KR,en;q=0.5", "ko"),
        (None, "en;q=0.1, KO;q=0.2", "ko"),
        (None, "ko;q=0, fr", "en"),
        (None, "ko;q=much", "en"),
        (None, ";;,,", "en"),
    ],
)
def test_the_language_follows_the_browser(cookie: str | None, header: str | None, language: str) -> None:
    """Unless it was chosen by hand."""
    assert chosen_language(cookie, header) == language


def test_every_problem_has_its_words() -> None:
    """Whatever is raised on purpose has a sentence."""
    keys = texts_of("en").by_key.keys()
    assert {f"problem.{kind}" for _, kind in PROBLEMS} == {each for each in keys if each.startswith("problem.")}
    assert PROBLEMS[-1][0] is SlipwayError


def test_translations_are_in_the_package() -> None:
    """Wherever it is installed."""
    assert {each.name for each in (files("gateway.console") / "translations").iterdir()} == {"en.toml", "ko.toml"}
