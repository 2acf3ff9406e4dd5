"""What the tests of the laptop stack share."""

from __future__ import annotations

from tests.support.stack_state import state_dir

__all__ = ["state_dir"]
