"""How sources say what a column holds that may not be there: the same words for one and for many."""

from __future__ import annotations


def held(column: str, what: str, count: int) -> str:
    """``what``: in words and in the plural. An empty ``column``: whole lines or rows are meant."""
    counted = f"{what} ({count:,} in all)"
    return f'column "{column}" holds {counted}' if column else f"there are {counted}"
