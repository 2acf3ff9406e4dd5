"""./fleet captured as a person runs it: what was kept of a city's predictions, or why there is nothing."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from city_fleet.naming import Keys
from city_fleet.state import captured
from city_fleet.state.objects import ObjectStore
from tests.quick.city_fleet.state.test_captured import SEEN
from tests.support.command_line import Done, fleet
from tests.support.fleets import SMALL
from tests.support.local_sagemaker import LocalSageMaker


def test_what_was_kept_is_shown_and_what_was_not_is_said(aws: LocalSageMaker, tmp_path: Path) -> None:
    name = f"f{uuid.uuid4().hex[:8]}"
    text = SMALL.replace("fleet: small", f"fleet: {name}").replace("bucket: small-data", "bucket: city-fleet")
    file = tmp_path / "small.yaml"
    file.write_text(f"{text}cities: {{waco: {{}}, fort_worth: {{name: Fort Worth}}}}\n")
    store, keys = ObjectStore(aws.client("s3"), "city-fleet"), Keys("city-fleet", name, "laptop")

    def run(*arguments: str) -> Done:
        return fleet("captured", *arguments, **{**aws.variables, "CITY_FLEET_FLEETS": str(tmp_path)})

    assert run("waco").stdout.splitlines() == [
        "waco: nothing was kept of its predictions, or its time is over.",
        "capture.share is 0, so nothing is kept now; set it in the fleet file, then ./fleet deploy.",
    ]
    file.write_text(f"{file.read_text()}capture: {{share: 0.5, cities: [fort_worth]}}\n")
    early = replace(
        SEEN, city="fort_worth", cold=None, target_model="", status=503, error="NotReady: late", answer={}
    )
    late = [
        replace(
            SEEN, city="fort_worth", at=SEEN.at + timedelta(minutes=minute), answer={"prediction": 1234.5}
        )
        for minute in (2, 1)
    ]
    store.put(keys.capture("fort_worth", SEEN.at, "a"), captured.lines([early, *late]))
    store.put(keys.capture("fort_worth", SEEN.at - timedelta(days=1), "a"), captured.lines([early]))
    shown = run("Fort Worth").stdout.splitlines()
    assert shown[0].split() == [
        "moment",
        "answered",
        "by",
        "version",
        "ms",
        "cold",
        "answer",
        "prediction_id",
    ]
    assert "nobody" in shown[1]
    assert "503 NotReady: late" in shown[1]
    assert [line.split()[0] for line in shown[1:4]] == [
        "2015-08-01T06:15:00Z", "2015-08-01T06:16:00Z", "2015-08-01T06:17:00Z",
    ]  # fmt: skip
    assert "champion" in shown[3]
    assert "1,234.5" in shown[3]
    assert shown[4] == "2015-08-01: 3 kept; 1 failed."
    report = json.loads(run("fort_worth", "--last", "1", "--json").stdout)
    assert (report["count"], report["failed"], report["days"]) == (3, 1, ["2015-07-31", "2015-08-01"])
    (newest,) = report["predictions"]
    assert (newest["at"], newest["asked"]) == ("2015-08-01T06:17:00+00:00", SEEN.asked)
    assert run("fort_worth", "--day", "2015-07-01").stdout.startswith(
        "fort_worth: nothing was kept of 2015-07-01; there is 2015-07-31, 2015-08-01."
    )
    assert "capture.cities does not name waco" in run("waco").stdout
    for wrong, said in (("--day", "soon"), ("--day", "2015-08-01T06:00")):
        done = run("waco", wrong, said)
        assert (done.returncode, f"got {said!r}" in " ".join(done.stderr.split())) == (2, True), done.stderr
    assert "Did you mean 'waco'?" in run("wacko").stderr
