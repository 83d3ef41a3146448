"""Pages from templates: what every template can use, and the words for errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gateway import errors
from gateway.console.texts import LANGUAGES
from gateway.console.visits import Reply, address
from gateway.errors import ValueRefused, ValuesRefused
from gateway.model.sizes import in_units

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from http import HTTPStatus

    from gateway.console.static_files import StaticFiles
    from gateway.console.texts import Texts
    from gateway.console.visits import Visit
    from gateway.errors import SlipwayError

PROBLEMS: tuple[tuple[type[errors.SlipwayError], str], ...] = (
    (errors.CredentialsWrong, "credentials"),
    (errors.FormForeign, "form"),
    (errors.Forbidden, "forbidden"),
    (errors.NothingKnown, "unknown"),
    (errors.RepositoryUnknown, "unknown"),
    (errors.ManifestUnknown, "unknown"),
    (errors.RouteUnknown, "page"),
    (errors.AlreadyTaken, "taken"),
    (errors.ChangedMeanwhile, "changed"),
    (errors.ValuesRefused, "fields"),
    (errors.ValueRefused, "value"),
    (errors.ClientError, "other"),
    (errors.DatabaseUnavailable, "away"),
    (errors.StorageUnavailable, "away"),
    (errors.SlipwayError, "bug"),
)
"""What kind of problem an error is, the first that fits."""
_TEN = 10
_SHORT_DIGEST = 12
_HEADERS = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store"}


class Rendering:
    """Renders the templates of the console."""

    def __init__(self, static: StaticFiles) -> None:
        self._environment = Environment(
            loader=PackageLoader("gateway.console", "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False}
        self._environment.globals |= {"static": static.address, "address": address, "languages": LANGUAGES}
        self._environment.filters |= {"size": shown_size, "short_digest": short_digest}
        self._environment.filters |= {"time": shown_time, "number": "{:,}".format}

    def page(self, visit: Visit, template: str, status: HTTPStatus, values: Mapping[str, Any]) -> Reply:
        """Render a page for a visit."""
        told = _told(visit)
        shared = {
            "visit": visit,
            "t": visit.texts,
            "here": visit.here,
            "token_of_form": visit.session.form_token if visit.session else "",
            "told": told,
            "problem": problem_of(visit.texts, visit.failure),
            "field_problems": field_problems(visit.failure),
            "nav_registry": None,
            "tab": "",
        }
        text = self._environment.get_template(template).render({**shared, **values})
        return Reply(status, _HEADERS, text.encode("utf-8", "replace"))


def _told(visit: Visit) -> str:
    """Return what the page before has done; the name comes from the address, so anything else says nothing."""
    key = f"said.{visit.asked('said')}"
    return visit.texts(key, name=visit.asked("name")) if visit.texts.has(key) else ""


def problem_of(texts: Texts, error: SlipwayError | None) -> str:
    """Return a sentence about what went wrong as a whole; what exactly, the errors say in English."""
    if error is None:
        return ""
    kind = next(kind for family, kind in PROBLEMS if isinstance(error, family))
    return texts(f"problem.{kind}", detail=_sentence(str(error)))


def field_problems(error: SlipwayError | None) -> dict[str, str]:
    """Return what is wrong with which field."""
    if isinstance(error, ValuesRefused):
        return {name.partition(".")[0]: _sentence(detail) for name, detail in error.fields}
    if isinstance(error, ValueRefused) and error.field is not None:
        return {error.field: _sentence(str(error))}
    return {}


def _sentence(text: str) -> str:
    """Write what an error says as a sentence of its own."""
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?')) else '.'}"


def shown_size(count: int) -> str:
    """Return a number of bytes in binary units, with three digits at most."""
    value, unit = in_units(count)
    digits = 1 if value < _TEN and unit != "B" else 0
    return f"{value:.{digits}f} {unit}"


def shown_time(moment: datetime | None) -> str | Markup:
    """Return a time in UTC; the script of the page shows it in the reader's zone."""
    if moment is None:
        return "-"
    return Markup('<time datetime="{}">{} UTC</time>').format(
        moment.isoformat(timespec="seconds"), moment.strftime("%Y-%m-%d %H:%M")
    )


def short_digest(digest: str) -> str:
    """Return the beginning of a digest's hexadecimal part, as clients show it."""
    return digest.partition(":")[2][:_SHORT_DIGEST]
