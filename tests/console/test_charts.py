"""Charts: where their bars stand."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.console.charts import HEIGHT, chart_days

TODAY = date(2030, 3, 1)


def at(day: int, month: int = 3) -> datetime:
    return datetime(2030, month, day, tzinfo=UTC)


def test_every_day_has_a_bar() -> None:
    """Days without pulls too, up to today."""
    chart = chart_days([(at(1), 4), (at(27, month=2), 1)], TODAY, days=4)

    assert [(bar.day.isoformat(), bar.count) for bar in chart.bars] == [
        ("2030-02-26", 0),
        ("2030-02-27", 1),
        ("2030-02-28", 0),
        ("2030-03-01", 4),
    ]
    assert chart.total == 5
    assert chart.busiest.day == TODAY


def test_what_lies_before_the_first_day_is_left_out() -> None:
    """A history may begin earlier."""
    chart = chart_days([(at(1), 1), (at(20, month=2), 900)], TODAY, days=3)

    assert chart.total == 1
    assert chart.top == 1


def test_bars_stand_on_the_ground_and_reach_their_share() -> None:
    """Half of the scale is half of the height."""
    bar = chart_days([(at(1), 25)], TODAY, days=2).bars[-1]

    assert (bar.y, bar.height) == (HEIGHT / 2, HEIGHT / 2)
    assert bar.x > 1
    assert bar.x + bar.width < 2


@pytest.mark.parametrize(("most", "top"), [(0, 1), (1, 1), (2, 2), (3, 5), (6, 10), (11, 20), (99, 100), (101, 200)])
def test_the_scale_ends_at_a_round_number(most: int, top: int) -> None:
    """Which nothing exceeds; a chart of nothing has a scale too."""
    assert chart_days([(at(1), most)], TODAY, days=7).top == top


def test_of_several_busiest_days_the_latest_counts() -> None:
    """It is the one that people remember."""
    chart = chart_days([(at(28, month=2), 3), (at(27, month=2), 3)], TODAY, days=7)

    assert chart.busiest.day == date(2030, 2, 28)


def test_the_table_leaves_quiet_days_out() -> None:
    """The latest first."""
    chart = chart_days([(at(27, month=2), 3), (at(1), 2)], TODAY, days=30)

    assert [(bar.day.isoformat(), bar.count) for bar in chart.counted] == [("2030-03-01", 2), ("2030-02-27", 3)]


@given(st.dictionaries(st.integers(1, 28), st.integers(0, 2**63 - 1)))
def test_all_bars_stay_in_the_plot(counts: dict[int, int]) -> None:
    """Whatever was counted."""
    chart = chart_days([(at(day, month=2), count) for day, count in counts.items()], TODAY, days=30)

    for bar in chart.bars:
        assert 0 <= bar.y <= HEIGHT
        assert bar.y + bar.height == pytest.approx(HEIGHT)
    assert chart.total == sum(counts.values())
