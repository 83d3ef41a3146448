"""Sizes as people read them."""

from __future__ import annotations

_UNIT = 1024.0
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def in_units(count: int) -> tuple[float, str]:
    """Return a number of bytes in the largest binary unit that it reaches."""
    value, unit = float(count), 0
    while value >= _UNIT and unit < len(_UNITS) - 1:
        value, unit = value / _UNIT, unit + 1
    return value, _UNITS[unit]
