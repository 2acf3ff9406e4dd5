"""The job scripts' modules, which stand flat in their folder as they do in the image."""

from __future__ import annotations

import sys

from tests.support.paths import SCRIPTS

sys.path.insert(0, str(SCRIPTS))
