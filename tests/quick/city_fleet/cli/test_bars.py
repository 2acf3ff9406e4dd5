"""Bars and lines of characters."""

from __future__ import annotations

from city_fleet.cli.bars import bar, levels, signed_bar


def test_bars_are_as_long_as_their_share_and_never_vanish() -> None:
    assert [bar(share, 10) for share in (0, 0.001, 0.5, 1)] == ["", "█", "█████", "██████████"]


def test_what_is_below_0_goes_to_the_left() -> None:
    assert signed_bar(-2, 4, 4) == "  ██│"
    assert signed_bar(4, 4, 4) == "    │████"
    assert signed_bar(0, 0, 4) == "    │"


def test_a_line_keeps_its_ends_and_leaves_gaps() -> None:
    assert levels([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
    assert levels([0.0, None, 7.0, float("nan")], 4) == "▁ █ "
    assert levels(range(701), 8) == "▁▂▃▄▅▆▇█"
    assert levels([5, 5], 4, low=0) == "██"
    assert (levels([], 4), levels([None], 4)) == ("", " ")
