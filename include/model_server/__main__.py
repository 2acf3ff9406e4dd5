"""Entry point: ``python -m model_server`` or ``python <this folder>/__main__.py``, with or without the word ``serve``.

Started by its path, the folder is loaded as a package and then taken off ``sys.path``, so that a user's module called
``models.py`` or ``settings.py`` is never shadowed by one of ours.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

PACKAGE = "model_server"


def main() -> int:
    """Serve until SIGTERM.

    :return: the exit code of the container.
    """
    if sys.argv[1:] not in ([], ["serve"]):
        print(f"usage: python {sys.argv[0]} [serve]", file=sys.stderr)
        return 2
    folder = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != folder]
    if PACKAGE not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            PACKAGE, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        if spec is None or spec.loader is None:
            raise ImportError(f"{folder} can't be loaded as a package")
        package = importlib.util.module_from_spec(spec)
        sys.modules[PACKAGE] = package
        spec.loader.exec_module(package)
    return int(importlib.import_module(f"{PACKAGE}.process").main())


if __name__ == "__main__":
    sys.exit(main())
