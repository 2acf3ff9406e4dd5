"""Image URIs are found without the SageMaker SDK."""

from __future__ import annotations

import subprocess
import sys


def test_the_sdk_is_not_imported() -> None:
    code = (
        "import sys; from city_fleet.jobs.images import image_uri; from city_fleet.config import Algorithm;"
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
