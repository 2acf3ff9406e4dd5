"""Runs the one job of many cities by the real script, and the three jobs of each of them beside it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from city_fleet.plan import EVALUATE, PREPROCESS, TRAIN
from tests.support.parent_jobs import PlannedJobs
from tests.support.paths import SCRIPTS
from tests.support.script_jobs import Finished, start_job

PARTS = ("train", "validation", "test")


def united(jobs: PlannedJobs) -> dict[str, Any]:
    """A city's item of the settings of one job: those of its three jobs together."""
    items = []
    for step in (PREPROCESS, TRAIN, EVALUATE):
        settings = json.loads((jobs.settings(step) / "settings.json").read_text(encoding="utf-8"))
        items.append(settings["cities"][0])
    return {name: value for item in items for name, value in item.items()}


@dataclasses.dataclass
class CohortJob:
    """The job of some cities, below a folder that stands for /opt/ml.

    :param raw: holds ``city=<slug>/`` folders.
    :param items: the cities' settings.
    :param top: more members of the settings.
    :param script: of a copy of the scripts' folder, where a test needs one.
    :param channels: folders of the channels champions and parents, where there are some.
    """

    root: Path
    raw: Path
    items: Sequence[Mapping[str, Any]]
    as_of: str = "20150801T000000Z"
    top: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    channels: Mapping[str, Path] = dataclasses.field(default_factory=dict)
    script: Path = SCRIPTS / "cohort.py"

    def run(self) -> Finished:
        """Run cohort.py in script mode, in an interpreter of its own: it forks, and so has imported little."""
        settings, output = self.root / "settings", self.root / "output"
        for folder in (settings, output / "data", self.results):
            folder.mkdir(parents=True, exist_ok=True)
        content = {"format_version": 1, "as_of": self.as_of, "raw_uri": "s3://bucket/raw/"}
        content |= {"cities": list(self.items), **self.top}
        (settings / "settings.json").write_text(json.dumps(content), encoding="utf-8")
        return start_job(
            str(self.script),
            [],
            output / "failure",
            True,
            SM_CHANNEL_SETTINGS=str(settings),
            SM_CHANNEL_RAW=str(self.raw),
            SM_MODEL_DIR=str(self.results),
            SM_OUTPUT_DIR=str(output),
            SM_OUTPUT_DATA_DIR=str(output / "data"),
            SM_NUM_CPUS="1",
            **{f"SM_CHANNEL_{name.upper()}": str(folder) for name, folder in self.channels.items()},
        )

    @property
    def results(self) -> Path:
        """SM_MODEL_DIR."""
        return self.root / "model"

    def file(self, part: str, city: str, name: str) -> Path:
        """A file of a city among the results."""
        return self.results / part / f"city={city}" / name

    @property
    def outcomes(self) -> dict[str, Any]:
        """What has come of each city."""
        value = json.loads((self.results / "outcome.json").read_text(encoding="utf-8"))
        assert value["format_version"] == 1
        found: dict[str, Any] = value["cities"]
        return found
