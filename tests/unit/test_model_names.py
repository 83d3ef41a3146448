"""Names of repositories and tags (protocol 1.1), against the grammar written down a second time."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import DigestInvalid, NameInvalid, ReferenceInvalid
from gateway.model.digest import Digest
from gateway.model.names import RepositoryName, Tag, parse_reference

_ALNUM = string.ascii_lowercase + string.digits
_WORDS = st.text(_ALNUM, min_size=1, max_size=8)
_SEPARATORS = st.sampled_from([".", "_", "__", "-", "--", "-----"])
_TAG_FIRST = string.ascii_letters + string.digits + "_"


@st.composite
def components(draw: st.DrawFn) -> str:
    """Draw a component of a name: words joined by separators."""
    words = draw(st.lists(_WORDS, min_size=1, max_size=4))
    return words[0] + "".join(draw(_SEPARATORS) + word for word in words[1:])


_NAMES = st.lists(components(), min_size=1, max_size=4).map("/".join)


def is_component(text: str) -> bool:
    """Decide without a regular expression whether a text is a component of a name."""
    if not text or text[0] not in _ALNUM or text[-1] not in _ALNUM:
        return False
    runs, run = [], ""
    for character in text:
        if character in _ALNUM:
            runs.append(run)
            run = ""
        else:
            run += character
    return all(run in {"", ".", "_", "__"} or set(run) == {"-"} for run in runs)


@given(name=_NAMES)
def test_names_of_the_grammar(name: str) -> None:
    """Every name that the grammar makes is taken as it is."""
    assert RepositoryName.parse(name).text == str(RepositoryName.parse(name)) == name


@given(name=st.text(_ALNUM + "._-/A \n\u0661\u00e9", max_size=12) | st.text(max_size=6))
def test_any_text_against_a_naive_model(name: str) -> None:
    """A text is a name exactly if each of its components is one."""
    if all(is_component(part) for part in name.split("/")):
        assert RepositoryName.parse(name).text == name
    else:
        with pytest.raises(NameInvalid):
            RepositoryName.parse(name)


@given(
    name=_NAMES, spoiler=st.sampled_from(["\n", "\r", "\0", " ", "/", "_", "-", ".", "A", "\u00e9", "\u0663", ":", "%"])
)
def test_one_character_more_spoils_a_name(name: str, spoiler: str) -> None:
    """A trailing newline (which ``$`` would let pass) or any other stranger makes a name invalid."""
    for text in (name + spoiler, spoiler + name):
        with pytest.raises(NameInvalid):
            RepositoryName.parse(text)


@pytest.mark.parametrize(
    "name", ["", "/", "a//b", "/a", "a/", "a..b", "a___b", "a.-b", "-a", "a-", "Foo", "..", "a/../b", "_catalog"]
)
def test_names_outside_of_the_grammar(name: str) -> None:
    """The examples of protocol 1.1 and of the edge cases are invalid."""
    with pytest.raises(NameInvalid):
        RepositoryName.parse(name)


@pytest.mark.parametrize("length", [1, 254, 255])
def test_longest_name(length: int) -> None:
    """A name has up to 255 characters."""
    assert RepositoryName.parse("a" * length).text == "a" * length


@pytest.mark.parametrize("length", [256, 1000, 10_000_000])
def test_name_that_is_too_long(length: int) -> None:
    """A longer name is refused, at once however long it is."""
    with pytest.raises(NameInvalid, match="255"):
        RepositoryName.parse("a" * length)


@pytest.mark.timeout(60)
def test_name_that_tempts_a_regular_expression() -> None:
    """No name makes the check slow."""
    for name in ("a-" * 127 + "!", "-" * 255, "a" + "-" * 253 + "!", "a/" * 127 + "!"):
        with pytest.raises(NameInvalid):
            RepositoryName.parse(name)


@given(
    tag=st.text(_TAG_FIRST, min_size=1, max_size=1).flatmap(
        lambda first: st.text(_TAG_FIRST + ".-", max_size=127).map(first.__add__)
    )
)
def test_tags_of_the_grammar(tag: str) -> None:
    """Every tag that the grammar makes is taken as it is, also as a reference."""
    assert Tag.parse(tag).text == str(parse_reference(tag)) == tag


@pytest.mark.parametrize(
    "tag",
    [
        "",
        ".x",
        "-x",
        "a+b",
        "a b",
        "a/b",
        "latest\n",
        "\nlatest",
        "caf\u00e9",
        "\u0661",
        "a" * 129,
        "a" * 10**6,
        "a\0",
        "a,b",
    ],
)
def test_tags_outside_of_the_grammar(tag: str) -> None:
    """What breaks the grammar is refused."""
    with pytest.raises(ReferenceInvalid):
        Tag.parse(tag)


@given(text=st.text(max_size=20))
def test_any_text_as_a_reference(text: str) -> None:
    """A text with a colon is a digest or wrong; one without is a tag or wrong."""
    try:
        reference = parse_reference(text)
    except DigestInvalid:
        assert ":" in text
    except ReferenceInvalid:
        assert ":" not in text
    else:
        assert isinstance(reference, Digest if ":" in text else Tag)
        assert str(reference) == text
