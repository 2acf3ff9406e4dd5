"""Image URIs are those of the SageMaker SDK, and found without it."""

from __future__ import annotations

import json
import re
import subprocess
import sys

from city_fleet.config.image_table import TABLE, managed_images
from city_fleet.jobs import images
from local.stack.image_table import FRAMEWORKS, sdk_table


def test_every_version_and_region_is_the_sdks_own() -> None:
    from sagemaker.core import image_uris

    for framework in FRAMEWORKS:
        versions = managed_images(framework)
        newest = max(versions, key=lambda version: [int(part) for part in re.findall(r"\d+", version)])
        # All pairs would take the SDK half a minute.
        pairs = {(newest, region) for region in versions[newest].registries}
        pairs |= {(version, next(iter(image.registries))) for version, image in versions.items()}
        for version, region in pairs:
            ours = images._retrieve(framework, version, region)
            assert ours == image_uris.retrieve(framework, region, version=version)


def test_the_table_is_the_one_that_make_images_writes() -> None:
    table = json.loads(TABLE.read_bytes())
    assert {framework: sdk_table(framework) for framework in FRAMEWORKS} == {
        framework: table[framework] for framework in FRAMEWORKS
    }, "run `make images`, and look at the difference"
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", table["date"])


def test_the_sdk_is_not_imported() -> None:
    code = (
        "import sys; sys.modules['sagemaker'] = None;"
        "from city_fleet.jobs.images import image_uri; from city_fleet.config import Algorithm;"
        "print(image_uri(Algorithm(), 'eu-central-1')); assert not any(m.startswith('sagemaker.') for m in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": "plugins"},
        check=True,
    )
    assert done.stdout.strip() == "492215442770.dkr.ecr.eu-central-1.amazonaws.com/sagemaker-xgboost:3.2-0"
