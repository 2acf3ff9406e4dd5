"""A city with a horizon of three months, made by the job scripts: what a forecast by a city's name is asked of."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from city_fleet.champions import artifact
from city_fleet.state import known_values
from city_fleet.state.live_pointer import LivePointer
from city_fleet.state.objects import ObjectStore
from tests.support.script_jobs import DATA, Jobs
from tests.support.serving import KEYS, Serving

HORIZON = 3
AS_OF = "20150801T000000Z"


@dataclass(frozen=True)
class ForecastCity:
    """The city's run.

    :param body: its artifact, as evaluate.py has written it.
    :param forecast: what the evaluation's own code forecast, without a word on newer data.
    """

    city: str
    name: str
    jobs: Jobs
    rows: list[list[str]]
    body: bytes
    forecast: dict[str, Any]

    def publish(self, serving: Serving, **changes: Any) -> LivePointer:
        """Make its model the one that is live."""
        made = artifact.parse(self.body, "the artifact")
        return serving.publish(self.city, self.body, features=made.features, **{**made.says, **changes})

    def known(self, folder: Path, as_of: str, *months: tuple[int, int, float]) -> bytes:
        """Prepare the city again with months more, and return what is known then.

        :param months: year, month and median price.
        """
        more = [
            [self.name, str(year), str(month), "2500", "0", str(value), "7000", "2.6"]
            for year, month, value in months
        ]
        later = Jobs(folder)
        later.write_raw(self.city, [*self.rows, *more])
        finished = later.preprocess(self.city, as_of=as_of, more=("--horizon", str(HORIZON)))
        assert finished.code == 0, finished.stderr
        return later.out("report", f"city={self.city}", known_values.KNOWN_FILE).read_bytes()


def keep(serving: Serving, body: bytes, as_of: str, city: str = "austin") -> str:
    """Keep known values of a city where predictions look for them, and return their key."""
    known = known_values.parse(body, "known.json", city, as_of)
    return known_values.keep(ObjectStore(serving.s3, KEYS.bucket), KEYS, known, body)


def make(folder: Path, city: str = "austin", name: str = "Austin") -> ForecastCity:
    """Prepare, train and judge the city.

    :param folder: an empty folder.
    :param name: of the city in the Texas data.
    """
    with DATA.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    rows = [rows[0], *(row for row in rows if row[0] == name)]
    jobs = Jobs(folder)
    jobs.write_raw(city, rows)
    for finished in (jobs.preprocess(city, more=("--horizon", str(HORIZON))), jobs.train(city)):
        assert finished.code == 0, finished.stderr
    jobs.pack()
    finished = jobs.evaluate(city)
    assert finished.code == 0, finished.stderr
    made = jobs.root / "evaluate" / "evaluation" / f"city={city}"
    report = json.loads((made / "evaluation.json").read_text(encoding="utf-8"))
    return ForecastCity(city, name, jobs, rows, (made / "model.tar.gz").read_bytes(), report["forecast"])
