"""Runs the jobs of a city and of its parent as a plan asks for them, by the real scripts in the image's Python."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from city_fleet.config import load_fleet
from city_fleet.jobs import job_files
from city_fleet.plan import EVALUATE, PREPROCESS, TRAIN, FixedChampion, FixedParent, Run, plan_city
from tests.support.paths import ROOT
from tests.support.script_jobs import DATA, Finished, pack, start_job

FLEET = ROOT / "include" / "fleets" / "texas_housing.yaml"


def write_texas(raw: Path, cities: Sequence[str] = (), **last: int) -> None:
    """Write the demo's raw data as `./fleet ingest` does.

    :param cities: slugs; all of the fleet by default.
    :param last: slug → the last year whose rows are written.
    """
    fleet = load_fleet(FLEET, {})
    slugs = {city.name: slug for slug, city in fleet.with_raw_data.items() if not cities or slug in cities}
    rows: defaultdict[str, list[list[str]]] = defaultdict(list)
    with DATA.open(encoding="utf-8", newline="") as file:
        header, *lines = csv.reader(file)
    at, year = header.index("city"), header.index("year")
    for line in lines:
        slug = slugs.get(line[at])
        if slug is not None and int(line[year]) <= last.get(slug, 9999):
            rows[slug].append(line)
    for slug, mine in rows.items():
        folder = raw / f"city={slug}"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "data.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([header, *mine])


@dataclasses.dataclass
class PlannedJobs:
    """The jobs of one city of a fleet, below a folder.

    :param raw: holds ``city=<slug>/`` folders.
    :param algorithm: replaces members of ``candidates`` in the settings, so that tests are quick.
    """

    root: Path
    raw: Path
    city: str
    as_of: str = "2015-08-01"
    fleet: Path = FLEET
    parent: FixedParent | None = None
    champion: FixedChampion | None = None
    candidates: Sequence[Mapping[str, Any]] | None = None
    archives: Mapping[str, Path] = dataclasses.field(default_factory=dict)

    def settings(self, step: str) -> Path:
        """Write the settings file of a step, as the plan makes it; return its folder."""
        plan = plan_city(load_fleet(self.fleet, {}), self.city)
        moment = datetime.fromisoformat(self.as_of).replace(tzinfo=UTC)
        run = Run("test", "0" * 10, moment, champion=self.champion, parent=self.parent)
        value = job_files.settings(plan, run, step)
        if self.candidates is not None:
            value["cities"][0]["candidates"] = list(self.candidates)
        folder = self.root / step / "settings"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "settings.json").write_text(json.dumps(value), encoding="utf-8")
        return folder

    def out(self, step: str, *parts: str) -> Path:
        """Name a file below the outputs of a step."""
        return self.root.joinpath(step, "out", *parts)

    def json(self, step: str, *parts: str) -> Any:
        """Read a JSON file of this city below the outputs of a step."""
        *folders, name = parts
        return json.loads(self.out(step, *folders, f"city={self.city}", name).read_text(encoding="utf-8"))

    def preprocess(self) -> Finished:
        """Run preprocess.py."""
        settings = str(self.settings(PREPROCESS) / "settings.json")
        places = ("--raw-dir", str(self.raw), "--output-dir", str(self.out(PREPROCESS)))
        return self._start(PREPROCESS, "preprocess.py", "--settings", settings, *places)

    def train(self) -> Finished:
        """Run train.py, and pack its model as SageMaker does."""
        output, model = self.root / TRAIN / "output", self.root / TRAIN / "model"
        (output / "data").mkdir(parents=True, exist_ok=True)
        model.mkdir(exist_ok=True)
        channels = {
            f"SM_CHANNEL_{part.upper()}": str(self.out(PREPROCESS, part))
            for part in ("train", "validation", "test")
        }
        done = start_job(
            "train.py",
            [],
            output / "failure",
            SM_CHANNEL_SETTINGS=str(self.settings(TRAIN)),
            SM_MODEL_DIR=str(model),
            SM_OUTPUT_DIR=str(output),
            SM_OUTPUT_DATA_DIR=str(output / "data"),
            SM_NUM_CPUS="1",
            **channels,
        )
        if done.code == 0:
            pack(model, self.root / TRAIN / "packed" / "model.tar.gz")
        return done

    def evaluate(self) -> Finished:
        """Run evaluate.py, with the archives of champion and parent where the run has them."""
        more = [part for name, path in self.archives.items() for part in (f"--{name}-dir", str(path.parent))]
        return self._start(
            EVALUATE,
            "evaluate.py",
            *("--settings", str(self.settings(EVALUATE) / "settings.json")),
            *("--test-dir", str(self.out(PREPROCESS, "test"))),
            *("--model-dir", str(self.root / TRAIN / "packed")),
            *("--output-dir", str(self.out(EVALUATE))),
            *more,
        )

    def run(self) -> None:
        """Run all three, each to a good end."""
        for step in (self.preprocess, self.train, self.evaluate):
            done = step()
            assert done.code == 0, done.stderr or done.message

    @property
    def artifact(self) -> Path:
        """The canonical archive."""
        return self.out(EVALUATE, "evaluation", f"city={self.city}", "model.tar.gz")

    def _start(self, step: str, script: str, *arguments: str) -> Finished:
        message = self.root / step / "message"
        message.parent.mkdir(parents=True, exist_ok=True)
        message.unlink(missing_ok=True)
        return start_job(script, [*arguments, "--message-file", str(message)], message)


def write_fleet(folder: Path, *cities: str, dataset: str = "", more: str = "") -> Path:
    """Write the demo's fleet file with some of its cities, all of them texas's, and with what a test wants otherwise.

    :param cities: slugs; texas, the parent, is always there.
    :param dataset: lines of the dataset section, and ``more`` of the cities, indented as they stand there.
    """
    whole = FLEET.read_text(encoding="utf-8")
    head, _, listed = whole.partition("\ncities:\n")
    kept = [line for line in listed.splitlines() if line.split(":")[0].strip() in (*cities, "texas")]
    head = head.replace("\n\ndefaults:\n", f"\n{dataset}\n\ndefaults:\n  parent: texas\n", 1)
    path = folder / "texas_housing.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([head, "cities:", *kept, more]), encoding="utf-8")
    return path
