"""A city's three steps at the desk: prepare, train and judge, by the scripts, settings and rows that its jobs have.

The model has the bytes that the jobs would make of the same raw data, settings and scripts, and the decision is the
gate's own. Nothing is written beyond the folder that is given.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from city_fleet import naming
from city_fleet.champions import data_checks, gate
from city_fleet.desk.data_at_hand import DataAtHand
from city_fleet.desk.script_run import ScriptRunner, ScriptStep, write_scripts
from city_fleet.errors import ScriptFailed
from city_fleet.jobs.code_bundle import CodeBundle
from city_fleet.jobs.job_files import SETTINGS_NAME, learns_again, settings
from city_fleet.plan import EVALUATE, PREPROCESS, TRAIN, CityPlan, FixedChampion, FixedParent, Run

ARTIFACT = "model.tar.gz"
READY = "ready"
#: Stands for the key of a run: a trial is none.
_NO_RUN = "0" * 10


@dataclass(frozen=True)
class Served:
    """A model that serves, as the evaluation takes it.

    :param city: slug of the city whose model it is: the city's own, or its parent.
    :param etag: of the live pointer that names it.
    :param as_of: stamp of the moment up to which it has seen data.
    :param archive: its ``tar.gz``, alone in its folder.
    """

    city: str
    target_model: str
    etag: str
    as_of: str
    archive: Path

    @property
    def as_champion(self) -> FixedChampion:
        return FixedChampion(self.target_model, self.etag, self.as_of)

    @property
    def as_parent(self) -> FixedParent:
        return FixedParent(self.city, self.target_model, self.as_of)


@dataclass(frozen=True)
class Trial:
    """What the steps came to.

    :param as_of: stamp of the moment.
    :param folder: holds ``report``, ``train``, ``validation`` and ``test`` of preprocess.py, ``model`` and ``training``
        of train.py and ``evaluation`` of evaluate.py, with ``city=<slug>/`` as the jobs' outputs have it.
    :param status: ``status.json``.
    :param training: ``training.json``; None where there was too little data, as all that follows.
    :param report: ``evaluation.json``, and ``holdout``, ``holdout.json``.
    :param decision: what the gate would decide.
    :param artifact: the archive that would be registered.
    :param seconds: by step.
    """

    city: str
    as_of: str
    folder: Path
    status: Mapping[str, Any]
    training: Mapping[str, Any] | None = None
    report: Mapping[str, Any] | None = None
    holdout: Mapping[str, Any] | None = None
    decision: gate.Decision | None = None
    artifact: Path | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        """Tell whether there are data enough for a model."""
        return bool(self.status["status"] == READY)


class Desk:
    """Runs the steps of one city; a context manager.

    It starts at once: what scripts import is imported while the caller still looks for the data.

    :param python: the interpreter of the image.
    :param folder: gets everything; an empty one.
    """

    def __init__(self, plan: CityPlan, python: Path, folder: Path) -> None:
        self.plan, self.folder = plan, folder
        code = write_scripts(CodeBundle.of(plan).files, folder / "code")
        self._runner = ScriptRunner(python, code, folder / "logs", self._origin)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._runner.close()

    def trial(
        self, as_of: datetime, data: DataAtHand, champion: Served | None = None, parent: Served | None = None
    ) -> Trial:
        """Run all three steps.

        :param as_of: the moment up to which they may see data, UTC.
        :param data: the city's raw data.
        :param champion: the model that serves the city; None where none does.
        :param parent: the model that serves the city's parent, likewise.
        :raises ScriptFailed: a script failed.
        """
        prepared = self.prepare(as_of, data)
        return self.judge(self.train(prepared), champion, parent) if prepared.ready else prepared

    def prepare(self, as_of: datetime, data: DataAtHand) -> Trial:
        """Run preprocess.py.

        :raises ScriptFailed: it failed; its sentence names the data as the desk calls them.
        """
        names = [name for slug in self._cities for name in data.files.get(slug, ())]
        run = self._run(naming.as_of_stamp(as_of))
        asked = settings(self.plan, run, PREPROCESS, names) | {"raw_uri": data.raw_uri}
        try:
            seconds = self.step(
                PREPROCESS,
                *("--settings", self._settings(PREPROCESS, asked)),
                *("--raw-dir", data.folder, "--output-dir", self.folder),
            )
        except ScriptFailed as error:
            text = data.sentence(self.plan.city.slug, error.message)
            raise ScriptFailed(text, step=error.step, where=error.where, log=error.log) from None
        status = self._json("report", "status.json", PREPROCESS)
        return Trial(self.plan.city.slug, run.stamp, self.folder, status, seconds={PREPROCESS: seconds})

    def train(self, prepared: Trial) -> Trial:
        """Run train.py, as SageMaker's script mode does.

        :raises ScriptFailed: it failed.
        """
        path = self._settings(TRAIN, settings(self.plan, self._run(prepared.as_of), TRAIN))
        for name in ("model", "training"):
            (self.folder / name).mkdir()
        channels = ("train", "validation", *(["test"] if learns_again(self.plan) else []))
        seconds = self.step(
            TRAIN,
            environment={
                **{f"SM_CHANNEL_{name.upper()}": str(self.folder / name) for name in channels},
                "SM_CHANNEL_SETTINGS": str(path.parent),
                "SM_MODEL_DIR": str(self.folder / "model"),
                "SM_OUTPUT_DATA_DIR": str(self.folder / "training"),
                "SM_OUTPUT_DIR": str(path.parent),
                "SM_NUM_CPUS": "1",
            },
            message=path.parent / "failure",
        )
        packed = self.folder / "packed" / ARTIFACT
        packed.parent.mkdir()
        with tarfile.open(packed, "w:gz", compresslevel=1) as archive:
            archive.add(self.folder / "model", arcname=".")
        return replace(
            prepared,
            training=self._json("training", "training.json", TRAIN),
            seconds={**prepared.seconds, TRAIN: seconds},
        )

    def judge(self, trained: Trial, champion: Served | None = None, parent: Served | None = None) -> Trial:
        """Run evaluate.py on the model in the folder ``packed``, and ask the gate.

        :raises ScriptFailed: it failed.
        """
        run = self._run(
            trained.as_of, champion.as_champion if champion else None, parent.as_parent if parent else None
        )
        asked = settings(self.plan, run, EVALUATE)
        served: list[str | Path] = []
        for option, model in (("--champion-dir", champion), ("--parent-dir", parent)):
            served += [] if model is None else [option, model.archive.parent]
        seconds = self.step(
            EVALUATE,
            *("--settings", self._settings(EVALUATE, asked)),
            *("--test-dir", self.folder / "test", "--model-dir", self.folder / "packed"),
            *(*served, "--output-dir", self.folder),
        )
        report, rule = self._json("evaluation", "evaluation.json", EVALUATE), self.plan.city.gate
        return replace(
            trained,
            report=report,
            holdout=self._json("evaluation", "holdout.json", EVALUATE),
            decision=gate.decide(report, rule, data=data_checks.check(trained.status, report, rule.data)),
            artifact=self._place("evaluation") / ARTIFACT,
            seconds={**trained.seconds, EVALUATE: seconds},
        )

    def step(
        self,
        name: str,
        *arguments: str | Path,
        environment: Mapping[str, str] | None = None,
        message: Path | None = None,
    ) -> float:
        """Run the script of a name, which takes ``--message-file`` unless ``message`` says where its sentence goes.

        :return: seconds.
        :raises ScriptFailed: it failed.
        """
        # Scripts run in a folder of their own, where a path of the caller's leads nowhere.
        given = [str(each.absolute() if isinstance(each, Path) else each) for each in arguments]
        if message is None:
            message = self.folder / "messages" / name
            given += ["--message-file", str(message)]
        return self._runner.run(
            ScriptStep(name, f"{name}.py", tuple(given), message, environment or {})
        ).seconds

    @property
    def _cities(self) -> tuple[str, ...]:
        """Return whose raw data the steps read: a parent has none of its own."""
        return self.plan.children or (self.plan.city.slug,)

    def _run(
        self, stamp: str, champion: FixedChampion | None = None, parent: FixedParent | None = None
    ) -> Run:
        return Run("try", _NO_RUN, naming.parse_as_of(stamp), champion=champion, parent=parent)

    def _settings(self, step: str, value: Mapping[str, Any]) -> Path:
        path = self.folder / "settings" / step / SETTINGS_NAME
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(value, indent=2, ensure_ascii=False), encoding="utf-8")
        return path

    def _place(self, part: str) -> Path:
        return self.folder / part / f"city={self.plan.city.slug}"

    def _json(self, part: str, name: str, step: str) -> Any:
        """Read what a step has left.

        :raises ScriptFailed: it is not there.
        """
        path = self._place(part) / name
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            text = f"{name}: {step}.py has not left it as docs/steps.md says ({type(error).__name__})"
            raise ScriptFailed(text, step=step) from None

    def _origin(self, name: str) -> tuple[Path, bool]:
        """Return the file that a script is a copy of, and whether it is the user's own and not the fleet's."""
        path = self.plan.own_scripts.get(name)
        return (path, True) if path is not None else (self.plan.scripts / name, self.plan.has_own_folder)
