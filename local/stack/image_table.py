"""Writes the table of managed images from the one that the SageMaker SDK carries: ``make images``.

The library reads its own dated copy, so that what it asks of AWS does not depend on the SDK that happens to be
installed, and Airflow needs no SDK. Who updates it looks at the difference, and adds the Python of a new version to
``PYTHON_OF`` in ``plugins/city_fleet/config/image_table.py``.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from city_fleet.config.image_table import FRAMEWORKS, TABLE


def sdk_table(framework: str) -> dict[str, Any]:
    """Return what the SDK's table says of a framework's training images: repository, tag and accounts by version.

    :raises ModuleNotFoundError: sagemaker-core is not installed.
    """
    # Finding a package's place does not import it, which would take seconds.
    spec = importlib.util.find_spec("sagemaker")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("sagemaker-core is not installed; it is in requirements/dev.lock")
    folder = Path(spec.submodule_search_locations[0]) / "core" / "image_uri_config"
    versions = json.loads((folder / f"{framework}.json").read_bytes())["training"]["versions"]
    return {
        version: {
            "repository": entry["repository"],
            # Older images come in several kinds, and the table then lists them; ours is the one for CPUs.
            "tag": "-".join([version, "cpu", entry["py_versions"][-1]])
            if "py_versions" in entry
            else version,
            "registries": dict(sorted(entry["registries"].items())),
        }
        for version, entry in versions.items()
    }


def main() -> None:
    """Write the table with its date and source."""
    release = importlib.metadata.version("sagemaker-core")
    table: dict[str, Any] = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "source": f"sagemaker-core {release}"}
    table |= {framework: sdk_table(framework) for framework in FRAMEWORKS}
    TABLE.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(
        f"{TABLE}: written from {table['source']}; look at the difference before you commit it.\n"
    )


if __name__ == "__main__":
    main()
