"""Entry point: ``python <this folder>/__main__.py train``.

The folder is loaded as a package of its own and then taken off ``sys.path``, so that a user's script called
``train.py`` is never shadowed by ours.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

PACKAGE = "sagemaker_container"
COMMANDS = ("train",)


def main() -> int:
    """Run the command named by the first argument.

    :return: the exit code of the container.
    """
    if len(sys.argv) != 2 or sys.argv[1] not in COMMANDS:
        print(f"usage: python {sys.argv[0]} {'|'.join(COMMANDS)}", file=sys.stderr)
        return 2
    folder = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != folder]
    spec = importlib.util.spec_from_file_location(
        PACKAGE, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder} can't be loaded as a package")
    package = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = package
    spec.loader.exec_module(package)
    return int(importlib.import_module(f"{PACKAGE}.{sys.argv[1]}").main())


if __name__ == "__main__":
    sys.exit(main())
