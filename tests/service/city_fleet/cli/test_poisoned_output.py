"""Whatever others have written, no command hands a terminal a character that changes how it shows text."""

from __future__ import annotations

import ast
import json
import unicodedata
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from city_fleet import clock, naming
from city_fleet.cli.app import COMMANDS
from city_fleet.naming import Keys
from city_fleet.state import captured_line, run_records
from city_fleet.state.budget_question import BudgetNight
from city_fleet.state.observed import Observed
from tests.support.aws_names import IMAGE_URI
from tests.support.command_line import Done
from tests.support.command_line import fleet as run_fleet
from tests.support.fleets import AS_OF
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.paths import ROOT
from tests.support.states import pointer, record

#: Clears the screen, rings, colours by one character, reverses, hides, and begins a line of its own.
POISON = "x\x1b[2J\x07\x9b31m\u202egnp.\u2066\u200b\x7f\u2028\U000e0041\r\nforged: 46 cities, no mistakes."
# What a fleet file's names, and keys of S3, can hold of it.
IN_A_NAME = "n\x9b31m\u202egnp\u2066"
FLEET = """
fleet: {name}
bucket: {name}
role: arn:aws:iam::123456789012:role/city-fleet
start_date: 2010-01-01
schedule: "@monthly"
dataset:
  source: data.csv
  city_column: city
  time: {{columns: [day]}}
  frequency: month
  available_after: P1M
  target: {{column: value, lags: [1]}}
  features: [{{column: "{poison}", lags: [1]}}]
budget: {{month: 100}}
cities:
  austin: {{name: "{poison}"}}
  waco: {{name: Waco, approval: manual}}
  tyler: {{name: "T{poison}", gate: {{tolerance: "{poison}"}}}}
"""


class Poisoned:
    """A fleet of which everything that others can write is poisoned."""

    def __init__(self, aws: LocalSageMaker, folder: Path) -> None:
        self.aws, self.folder, self.name = aws, folder, f"f{uuid.uuid4().hex[:12]}"
        (folder / f"{self.name}.yaml").write_text(
            FLEET.format(name=self.name, poison=ascii(IN_A_NAME)[1:-1]), encoding="utf-8"
        )
        cells = (
            f'city,day,value,{IN_A_NAME}\n"{POISON}",2014-01-01,1,1\n{IN_A_NAME},2014-01-01,1,"{POISON}"\n'
        )
        (folder / "data.csv").write_text(cells, encoding="utf-8")
        self.keys = Keys(self.name, self.name, "laptop")
        self.s3, self.sagemaker = aws.client("s3"), aws.client("sagemaker")
        self.s3.create_bucket(Bucket=self.name)
        self.put("model.tar.gz", b"model")
        self.put(self.keys.raw("austin") + f"{IN_A_NAME}.csv", cells.encode())
        self.put(self.keys.raw("waco") + "a.csv", cells.encode())
        for city in ("austin", "waco"):
            self.serve(city)
            value = record(city=city, outcome="failed", reasons=[POISON, IN_A_NAME], failed_task=POISON,
                           failure={"error": POISON, "message": POISON})  # fmt: skip
            seen = Observed("", city, AS_OF, {POISON: POISON}, 502, {}, 1.0, error=f"ServingError: {POISON}")
            self.put(self.keys.capture(city, AS_OF, "a"), captured_line.lines([seen]) + POISON.encode())
            run_records.write(self.s3, self.keys, value, as_of=AS_OF, key_of_run=uuid.uuid4().hex[:10])
        damaged = {**json.loads(pointer("waco", 1, fleet=self.name).to_json()), "target_model": POISON}
        self.put(self.keys.history("waco", 1), json.dumps(damaged).encode())
        asks = BudgetNight(night="20990101T070000Z", limits={"night": None, "month": 100.0}, verdict="over",
                           sentence=POISON, at=clock.now_iso())  # fmt: skip
        self.put(self.keys.budget(), asks.to_json(self.keys))
        self.put(self.keys.live("tyler"), json.dumps({**damaged, "reason": POISON, POISON: POISON}).encode())

    def put(self, key: str, body: bytes) -> None:
        self.s3.put_object(Bucket=self.name, Key=key, Body=body)

    def serve(self, city: str) -> None:
        for number in (1, 2, 3):
            said: dict[str, Any] = dict.fromkeys(("moved_by", "published_by", "reason", "move"), POISON)
            state = pointer(city, number, fleet=self.name)
            state = replace(state, **said, reasons=(POISON,), package_arn=self.register(city), pinned=number == 3,
                            features=(IN_A_NAME, POISON), metrics={"mape": 0.1, POISON: 1.0})  # fmt: skip
            self.put(self.keys.history(city, number), state.to_json())
            self.put(self.keys.live(city), state.to_json())
            self.put(self.keys.model(state.target_model), b"model")

    def register(self, city: str) -> str:
        group = naming.package_group(self.name, "laptop", city)
        if not self.sagemaker.list_model_package_groups(NameContains=group)["ModelPackageGroupSummaryList"]:
            self.sagemaker.create_model_package_group(ModelPackageGroupName=group)
        arn = self.sagemaker.create_model_package(
            ModelPackageGroupName=group,
            ModelPackageDescription=f"as_of 2014\u2028x, artifact {'0' * 64}, run y\u2028forged",
            ModelApprovalStatus="PendingManualApproval",
            InferenceSpecification={
                "Containers": [{"Image": IMAGE_URI, "ModelDataUrl": f"s3://{self.name}/model.tar.gz"}],
                "SupportedContentTypes": ["text/csv"],
                "SupportedResponseMIMETypes": ["text/csv"],
            },
        )["ModelPackageArn"]
        self.sagemaker.update_model_package(
            ModelPackageArn=arn, ModelApprovalStatus="Rejected", ApprovalDescription=POISON.partition("\r")[0]
        )
        return str(arn)

    def __call__(self, *arguments: str) -> Done:
        more = {"CITY_FLEET_FLEETS": str(self.folder), "CITY_FLEET_AIRFLOW_URL": "http://127.0.0.1:9"}
        return run_fleet(*arguments, **more, **self.aws.variables)


#: Each command with arguments that make it say as much as it can.
CALLS: dict[str, list[list[str]]] = {
    "doctor": [["--no-airflow"]],
    "lint": [[]],
    "schema": [[]],
    "compile": [["--check"], []],
    "install": [["{folder}"]],
    "migrate": [["--dry-run"]],
    "ingest": [[], ["--file", "{folder}/data.csv"]],
    "data": [["austin"], ["waco"], ["austin", "--remove", f"{IN_A_NAME}.csv"], ["austin", "--remove", POISON]],
    "plan": [["austin"], ["austin", "--requests"], [POISON]],
    "run": [["austin"], [POISON], ["austin", "--as-of", POISON]],
    "pause": [["austin"], [POISON], ["--tag", POISON]],
    "unpause": [["austin"], [POISON], ["--tag", POISON]],
    "completion": [["bash"], [POISON]],
    "backfill": [["--from", "2014-01-01", "--to", "2014-02-01", "austin", "--dry-run"]],
    "status": [[], ["--check"], ["austin", "tyler", "waco", "--check"], [POISON]],
    "digest": [["--night", "2014-01-01"]],
    "cost": [[], ["--by", "city"], ["--by", POISON],
             ["--allow-night", "--yes", "--who", POISON, "--reason", POISON], []],
    "history": [["austin"], ["waco"], ["tyler"], ["waco", "--limit", "0"]],
    "cities": [[]],
    "predict": [["austin", "--example"], ["austin", "a=1"], ["tyler", "a=1"]],
    "score": [["austin", "{folder}/data.csv"], ["--all", "{folder}/data.csv"], [POISON, "{folder}/data.csv"],
              ["austin", "{folder}/data.csv", "--dry-run"]],
    "forecasts": [[], ["--write"], [POISON], ["austin", "--night", POISON]],
    "captured": [["austin"], ["waco", "--last", "0"], [POISON], ["austin", "--day", POISON]],
    "outcome": [[POISON, "1"], ["austin.20150801T061500Z.5f0c2a9b41de", POISON], ["--file", "{folder}/data.csv"]],
    "rollback": [["austin", "--by", "ann"], ["waco", "--by", POISON, "--dry-run"], ["tyler", "--by", "ann"]],
    "unpin": [["waco", "--by", "ann", "--reason", POISON], ["tyler", "--by", "ann"]],
    "challenge": [[], ["austin", "--shadow", "--dry-run"], ["austin", "--end"], [POISON, "--end"]],
    "promote": [["austin", "--by", "ann", "--reason", POISON], ["austin", "--version", "1", "--reason", "x"],
                ["austin", "--from", POISON]],
    "rebuild": [["--by", "ann", "--dry-run"], ["tyler", "--by", "ann"]],
    "waiting": [[]],
    "approve": [["austin", "--version", "1", "--by", "ann", "--dry-run"], ["waco", "--by", "ann"],
                ["--night", "2014-01-01", "--by", "ann", "--reason", "x"]],
    "reject": [["austin", "--version", "1", "--by", POISON, "--dry-run"]],
    "retire": [["--dry-run"], ["austin", "--dry-run"]],
    "deploy": [["--template"]],
    "try": [["austin"], ["austin", "--set", f"{POISON}=1"], ["austin", "--data", "{folder}/data.csv"]],
    "explain": [["austin"], ["austin", "--row", POISON], ["austin", "--version", "v1"]],
    "compare": [["austin", "v1", "v2"], ["austin", "live", POISON]],
    "import": [["austin", "{folder}/data.csv", "--dry-run"], ["austin", "{folder}/data.csv", "--by", POISON]],
    "remove": [["waco", "--without-airflow", "--by", "ann", "--dry-run"],
               ["waco", "--without-airflow", "--by", POISON]],
}  # fmt: skip


def unseen(text: str) -> set[str]:
    """Return the characters that a terminal does not show as themselves, but the line feeds of our own lines."""
    kept = {"\n", "\u200c", "\u200d"}
    return {
        f"U+{ord(char):04X}"
        for char in text
        if char not in kept and unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp", "Cs")
    }


@pytest.fixture(scope="module")
def fleet(aws: LocalSageMaker, tmp_path_factory: pytest.TempPathFactory) -> Poisoned:
    return Poisoned(aws, tmp_path_factory.mktemp("fleets"))


def test_every_command_is_called() -> None:
    assert set(CALLS) == {each.__name__.rstrip("_") for commands in COMMANDS.values() for each in commands}


@pytest.mark.parametrize("command", CALLS)
def test_a_command_shows_what_others_have_written_as_text(fleet: Poisoned, command: str) -> None:
    """Last the commands that change something: each is given the bucket as the others have left it."""
    for arguments in CALLS[command]:
        call = [each.format(folder=fleet.folder) if "{folder}" in each else each for each in arguments]
        ways: list[list[str]] = [[]] if command == "schema" else [["--json"], []]
        for more in ways:
            if command in ("backfill", "completion") and more:
                continue
            done = fleet(command, *call, *more)
            said = done.stdout + done.stderr
            assert not unseen(said), (call, more, unseen(said), ascii(said))
            assert not [line for line in said.splitlines() if line.startswith("forged")], (call, said)
            assert "Traceback" not in said
            assert "not YAML" not in said
            assert said
            if more and done.returncode == 0 and done.stdout:
                json.loads(done.stdout)


def test_what_is_hidden_is_shown_escaped(fleet: Poisoned) -> None:
    assert "\\u001b[2J\\u0007\\u009b31m\\u202egnp.\\u2066" in fleet("history", "austin").stdout
    assert "forged: 46 cities" in fleet("history", "austin").stdout
    states = json.loads(fleet("history", "austin", "--json").stdout)["states"]
    assert any(state["state"]["reason"] == POISON for state in states), "as JSON it is the text itself"


def test_only_one_module_prints() -> None:
    """So that nothing goes past the filter."""
    for path in sorted((ROOT / "plugins" / "city_fleet" / "cli").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            allowed = path.name == "output.py" or "schema_text" in ast.unparse(node)
            assert name not in ("print", "typer.echo", "typer.secho", "click.echo") or allowed, (
                f"{path.name}: {name}"
            )
