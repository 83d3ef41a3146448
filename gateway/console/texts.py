"""The console's texts in its languages: one file each, with the same keys."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LANGUAGES = {"en": "English", "ko": "한국어"}
_USUAL = "en"


@dataclass(frozen=True, slots=True)
class Texts:
    """All texts of one language."""

    language: str
    by_key: Mapping[str, str]

    def __call__(self, key: str, **values: Any) -> str:
        """Return a text with its places filled in; a key that is not there is a bug."""
        return self.by_key[key].format(**values)

    def has(self, key: str) -> bool:
        """Whether there is a text of this name."""
        return key in self.by_key


@cache
def texts_of(language: str) -> Texts:
    """Return the texts of a language."""
    file = files("gateway.console") / "translations" / f"{language}.toml"
    return Texts(language, dict(_flat("", tomllib.loads(file.read_text("utf-8")))))


def chosen_language(cookie: str | None, accepted: str | None) -> str:
    """Return the language that was chosen by hand, else the first one that the browser wants and we have."""
    if cookie in LANGUAGES:
        return cookie
    for wanted in _by_preference(accepted or ""):
        primary = wanted.partition("-")[0].lower()
        if primary in LANGUAGES:
            return primary
    return _USUAL


def _by_preference(header: str) -> list[str]:
    """Read Accept-Language (RFC 9110, section 12.5.4), the most wanted first."""
    weighted = []
    for place, part in enumerate(header[:1000].split(",")):
        name, _, parameter = part.partition(";")
        weight = parameter.strip().removeprefix("q=")
        try:
            quality = float(weight) if weight else 1.0
        except ValueError:
            continue
        if quality > 0:
            weighted.append((-quality, place, name.strip()))
    return [name for _, _, name in sorted(weighted)]


def _flat(prefix: str, table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(f"{prefix}{name}.", value)
        else:
            yield f"{prefix}{name}", value
