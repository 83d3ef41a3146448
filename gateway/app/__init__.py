"""The composition root: the only room that sees every other."""

from __future__ import annotations

from gateway.app.commands import SurveyOrder, cleaning, examine, managing, signing_keys, survey
from gateway.app.examination import Examined
from gateway.app.service import Running, Start, running, serve

__all__ = [
    "Examined",
    "Running",
    "Start",
    "SurveyOrder",
    "cleaning",
    "examine",
    "managing",
    "running",
    "serve",
    "signing_keys",
    "survey",
]
