"""Where things are in this repository."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "include" / "scripts"
_IMAGE = Path(os.environ.get("CITY_FLEET_IMAGE_PYTHON", ROOT / ".venv-image" / "bin" / "python"))
#: Interpreter that stands for the managed image, or this one where that environment is not made.
IMAGE_PYTHON = _IMAGE if _IMAGE.exists() else Path(sys.executable)
#: Interpreter that reads models that were trained elsewhere; tests that need it are left out where it is not made.
IMPORT_PYTHON = ROOT / ".venv-import" / "bin" / "python"
IMPORTER = ROOT / "include" / "importer"
