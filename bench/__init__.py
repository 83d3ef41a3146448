"""Benchmarks: one script answers one question; see README.md in this folder."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# The servers beside which Slipway is measured are started as the tests start them.
sys.path.insert(1, str(ROOT / "tests"))
