"""What counts as a pull (product, section 7)."""

from __future__ import annotations

import pytest

from gateway.model.pulls import Effect, Exclusions, effect_of

PULL = Effect(pulls=True, resolves=False)
BOTH = Effect(pulls=True, resolves=True)
RESOLUTION = Effect(pulls=False, resolves=True)
NOTHING = Effect(pulls=False, resolves=False)


@pytest.mark.parametrize(
    ("what", "kind", "by_tag", "has_body", "effect"),
    [
        ("GET of an image by tag", "image", True, True, BOTH),
        ("GET of an image by digest", "image", False, True, PULL),
        ("HEAD of an image by tag, or 304", "image", True, False, RESOLUTION),
        ("HEAD of an image by digest, or 304", "image", False, False, NOTHING),
        ("GET of an index by tag", "index", True, True, RESOLUTION),
        ("GET of an index by digest", "index", False, True, NOTHING),
        ("GET of a referrer artifact", "artifact", False, True, NOTHING),
        ("GET of an artifact by tag", "artifact", True, True, RESOLUTION),
        ("GET of a signature tagged sha256-….sig", "signature", True, True, RESOLUTION),
        ("GET of an attestation", "attestation", False, True, NOTHING),
        ("GET of a build cache", "cache", True, True, RESOLUTION),
    ],
)
def test_what_an_answer_counts_for(what: str, kind: str, by_tag: bool, has_body: bool, effect: Effect) -> None:
    """Images that were handed out are pulls; questions through a tag are resolutions."""
    assert effect_of(kind=kind, by_tag=by_tag, has_body=has_body) == effect, what


@pytest.mark.parametrize(
    ("key", "agent", "covered"),
    [
        ("SWSCANNER", None, True),
        ("SWOTHER", "docker/28.5", False),
        (None, "Trivy/0.60", True),
        (None, "my trivy", False),
        (None, None, False),
    ],
)
def test_callers_can_be_excluded(key: str | None, agent: str | None, covered: bool) -> None:
    """By access key id, or by the beginning of the User-Agent."""
    assert Exclusions.of(["SWSCANNER"], ["trivy"]).cover(key, agent) is covered


def test_without_exclusions_everybody_counts() -> None:
    """An empty list of agents is not the beginning of everything."""
    assert not Exclusions.of([], []).cover(None, "docker")
