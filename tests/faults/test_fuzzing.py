"""Parsers against inputs that a fuzzer breeds from proper ones, by what code they reach."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.timeout(7200),  # for a soak; libFuzzer ends by itself
    pytest.mark.skipif(find_spec("atheris") is None, reason="atheris is not made for this machine or this Python"),
]
_RUNS = 20_000
_LONGEST = 2000
_TESTS = Path(__file__).parents[1]
_DIGEST = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
_OCI = "application/vnd.oci.image"
_CONFIG = f'{{"mediaType":"{_OCI}.config.v1+json","digest":"{_DIGEST}","size":2}}'
_WRONG = """
import sys
from faults import fuzzing
def wrong(data):
    assert len(data) < 10
fuzzing.TARGETS = (wrong,)
fuzzing.main(sys.argv)
"""

_BEGINNINGS = {
    "manifest": (
        f'{{"schemaVersion":2,"mediaType":"{_OCI}.manifest.v1+json","config":{_CONFIG},"layers":[{_CONFIG}]}}',
        f'{{"schemaVersion":2,"mediaType":"{_OCI}.index.v1+json","manifests":[],"annotations":{{"a":"b"}}}}',
    ),
    "config": (
        '{"os":"linux","architecture":"arm","variant":"v7","config":{"Env":["A=b"],"Labels":{"a":"b"}}}',
        '{"history":[{"created_by":"RUN true","empty_layer":true}],"config":{"ExposedPorts":{"80/tcp":{}}}}',
    ),
    "ranges": ("\0\x09bytes=0-5,-3", "\0\x09bytes 0-5/9", "0-5"),
    "scopes": ("repository:a/b:pull,push", "registry:catalog:*\nrepository(plugin):a:delete"),
    "chunks": ("\1\2" + "5;a=b\r\nhello\r\n0\r\nX-A: b\r\n\r\nGET", '\1\3A;q="x"\r\n0123456789\r\n0\r\n\r\n'),
    "forwarded": ('for="[2001:db8::1]:80";proto=https, for=10.0.0.1;host=a', "\n192.0.2.7, 10.0.0.2\nhttps\na:1\n443"),
    "preamble": (
        "PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\nGET",
        "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x14\xc0\0\2\1\x0a\0\0\1\1\1\1\xbb\x20\0\5\1\0\0\0\0",
    ),
    "words": (_DIGEST, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
}


@pytest.mark.parametrize("target", _BEGINNINGS)
def test_whatever_comes(target: str, tmp_path: Path, seed: int, soak: float) -> None:
    """It is read or refused, as the target says."""
    beginnings = tmp_path / "beginnings"
    beginnings.mkdir()
    for number, text in enumerate(_BEGINNINGS[target]):
        (beginnings / str(number)).write_bytes(text.encode("latin-1"))
    limit = f"-max_total_time={soak:.0f}" if soak else f"-runs={_RUNS}"
    found = fuzz(tmp_path, "-m", "faults.fuzzing", target, f"-seed={seed}", limit, f"-max_len={_LONGEST}", "beginnings")
    assert not found.returncode, found.stdout[-4000:]
    assert "DONE" in found.stdout


def test_what_does_not_hold_is_found(tmp_path: Path) -> None:
    """An input of which something else is true than its target says ends the search."""
    found = fuzz(tmp_path, "-c", _WRONG, "wrong", "-seed=1", f"-runs={_RUNS}")
    assert found.returncode
    assert "AssertionError" in found.stdout
    assert len(next(tmp_path.glob("crash-*")).read_bytes()) >= 10


def fuzz(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the fuzzer in a process of its own, which it takes over; what it finds is put into the folder."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{_TESTS}{os.pathsep}{_TESTS.parent}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
