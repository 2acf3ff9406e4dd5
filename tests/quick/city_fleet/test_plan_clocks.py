"""A worker whose clock is behind the scheduler's runs the night all the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.support.fleets import austin


def test_an_as_of_may_be_as_far_ahead_as_clocks_differ_and_no_further() -> None:
    now = datetime.now(UTC)
    assert austin().check_as_of(now + timedelta(minutes=5)) > now
    with pytest.raises(ValueError, match="lies in the future"):
        austin().check_as_of(now + timedelta(minutes=20))
