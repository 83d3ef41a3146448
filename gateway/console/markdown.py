"""Descriptions in Markdown become HTML that is safe to show, whoever wrote them.

Two locks, either of which would do: the renderer passes on no HTML that a description contains, and what it makes is
cleaned by a list of what may be there. Images are shown as links, since the pages load nothing from other hosts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import nh3
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markupsafe import Markup

if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence

    from markdown_it.renderer import RendererHTML
    from markdown_it.rules_core import StateCore
    from markdown_it.token import Token
    from markdown_it.utils import OptionsDict

_SCHEMES = {"http", "https", "mailto"}
_HEADINGS_ABOVE = 2
"""A page has headings of two levels above a description's own."""
_DEEPEST_HEADING = 6
_ALIGNMENTS = {f"text-align:{side}": f"align-{side}" for side in ("left", "center", "right")}
_TAGS = {
    *("p", "br", "hr", "h3", "h4", "h5", "h6", "blockquote", "ul", "ol", "li", "pre", "code", "em", "strong", "s"),
    *("a", "div", "table", "thead", "tbody", "tr", "th", "td"),
}
# What scrolls must be reachable by keyboard.
_SCROLLING = {"class": "markdown-table", "tabindex": "0"}
_CLEANER = nh3.Cleaner(
    tags=_TAGS,
    clean_content_tags={"script", "style"},
    attributes={"*": set(), "a": {"href", "title"}, "ol": {"start"}},
    tag_attribute_values={
        "th": {"class": set(_ALIGNMENTS.values())},
        "td": {"class": set(_ALIGNMENTS.values())},
    },
    set_tag_attribute_values={"pre": {"tabindex": "0"}, "div": _SCROLLING},
    link_rel="noopener noreferrer nofollow",
    url_schemes=_SCHEMES,
    url_relative="deny",
)


def render_markdown(text: str) -> Markup:
    """Render a description; links go to http, https and mailto addresses only, anything else stays text.

    64 KiB of the worst text take about a second: do it off the event loop.
    """
    return Markup(_CLEANER.clean(_RENDERER.render(text)))  # noqa: S704  (this is the place that makes it safe)


def _is_allowed(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in _SCHEMES and bool(parts.netloc or parts.scheme == "mailto")


def _suit_page(state: StateCore) -> None:
    """Put headings below those of the page, and say with classes how cells are aligned: inline styles are forbidden."""
    for token in state.tokens:
        if token.type in {"heading_open", "heading_close"}:
            token.tag = f"h{min(int(token.tag[1:]) + _HEADINGS_ABOVE, _DEEPEST_HEADING)}"
        alignment = _ALIGNMENTS.get(str(token.attrs.pop("style", "")))
        if alignment is not None:
            token.attrs["class"] = alignment
        _find_linked_images(token.children or ())


def _find_linked_images(tokens: Sequence[Token]) -> None:
    """Mark the images that are the words of a link, which cannot be links of their own."""
    depth = 0
    for token in tokens:
        depth += token.nesting if token.type in {"link_open", "link_close"} else 0
        token.meta["is_linked"] = depth > 0


def _link_to_image(
    renderer: RendererHTML,
    tokens: Sequence[Token],
    index: int,
    options: OptionsDict,
    env: MutableMapping[str, object],
) -> str:
    image = tokens[index]
    address = escapeHtml(str(image.attrs["src"]))
    words = escapeHtml(renderer.renderInlineAsText(image.children, options, env)) or address
    return words if image.meta["is_linked"] else f'<a href="{address}">{words}</a>'


def _make_renderer() -> MarkdownIt:
    renderer = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    renderer.validateLink = _is_allowed  # type: ignore[method-assign]
    renderer.core.ruler.push("suit_page", _suit_page)
    renderer.add_render_rule("image", _link_to_image)
    renderer.add_render_rule("table_open", lambda *_: "<div><table>\n")
    renderer.add_render_rule("table_close", lambda *_: "</table></div>\n")
    return renderer


_RENDERER = _make_renderer()
