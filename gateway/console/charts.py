"""The geometry of charts; templates/images/chart.html draws them.

A chart's words stand beside it in HTML, so that it can be stretched to any width and they stay legible.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date, datetime

HEIGHT = 100
"""Of the plot, in its own units; every day is one unit wide."""
_GAP = 0.2
_ROUND = (1, 2, 5)


@dataclass(frozen=True, slots=True)
class Bar:
    """One day."""

    day: date
    count: int
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class DayChart:
    """Counts by the day, as bars on a scale from nothing to a round number."""

    bars: tuple[Bar, ...]
    """Every day, the earliest first."""
    top: int
    """The number at the upper edge."""
    total: int
    busiest: Bar
    """The day with the most; the latest of several."""

    @property
    def counted(self) -> list[Bar]:
        """The days on which anything was counted, the latest first."""
        return [bar for bar in reversed(self.bars) if bar.count]


def chart_days(history: Iterable[tuple[datetime, int]], today: date, days: int) -> DayChart:
    """Lay out the given number of days up to today; days that the history leaves out count nothing."""
    counts = {day.date(): count for day, count in history}
    shown = [today - timedelta(days=back) for back in reversed(range(days))]
    top = _round_up(max(counts.get(day, 0) for day in shown))
    bars = tuple(_bar(place, day, counts.get(day, 0), top) for place, day in enumerate(shown))
    busiest = max(bars, key=lambda bar: (bar.count, bar.day))
    return DayChart(bars, top, sum(bar.count for bar in bars), busiest)


def _bar(place: int, day: date, count: int, top: int) -> Bar:
    height = round(HEIGHT * count / top, 2)
    return Bar(day, count, x=place + _GAP / 2, y=round(HEIGHT - height, 2), width=1 - _GAP, height=height)


def _round_up(number: int) -> int:
    """Return the next of 1, 2, 5, 10, 20, 50, … that is not less."""
    power = 1
    while True:
        for factor in _ROUND:
            if factor * power >= number:
                return factor * power
        power *= 10
