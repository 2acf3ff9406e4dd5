"""The algorithm section of the fleet file: the image, and what is trained in it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from city_fleet.config.image_table import FRAMEWORKS, usable_versions
from city_fleet.config.name_types import AlgorithmName, TrainingImage, Version, version_problem
from city_fleet.config.section import Section, or_refuse
from city_fleet.config.value_types import Flag, Parameter, Problem, Range, without_nulls
from city_fleet.errors import show_value

MAX_HYPERPARAMETERS = 80
MAX_CANDIDATES = 20
# What train.py takes beside the hyperparameters where it is started by hand.
RESERVED_HYPERPARAMETERS = ("city", "as_of", "target", "target_transform")
DEFAULT_ALGORITHM = "xgboost"
_SEED = Range(True, 0, 2**31 - 1)
Hyperparameters = Annotated[dict[str, Parameter], BeforeValidator(without_nulls)]


def _named(value: object) -> object:
    """A candidate that is a name alone."""
    return {"algorithm": value} if isinstance(value, str) else value


class Candidate(Section):
    """One of several algorithms of which the best on the validation part is kept."""

    algorithm: AlgorithmName
    """Name of the algorithm: a module of the scripts folder's algorithms/."""
    hyperparameters: Hyperparameters = Field(default={})
    """Its hyperparameters."""

    @model_validator(mode="after")
    def _check(self) -> Candidate:
        return or_refuse(self, _hyperparameter_problems(self.hyperparameters))


class Algorithm(Section):
    """The image, and the algorithm or the candidates that train in it."""

    image: TrainingImage = "xgboost"
    """xgboost or sklearn, a managed SageMaker image; or the URI of an image in ECR that keeps to docs/steps.md."""
    version: Version = "3.2-0"
    """Version of the managed image; of sklearn, "1.9-0" unless it is given."""
    name: AlgorithmName | None = None
    """Name of the algorithm: a module of the scripts folder's algorithms/; null is xgboost. Not beside candidates."""
    hyperparameters: Hyperparameters = Field(default={})
    """Hyperparameters of the algorithm (or of the candidate xgboost); seed too, for all of them."""
    seed: Annotated[int, _SEED] | None = None
    """Start of what is random in training; null is hyperparameters.seed, or 0."""
    refit: Flag = True
    """Of a series: whether the model that serves learns the periods that have judged it, by the same settings."""
    candidates: Annotated[
        tuple[
            Annotated[Candidate, BeforeValidator(_named, json_schema_input_type=AlgorithmName | Candidate)],
            ...,
        ],
        Field(max_length=MAX_CANDIDATES),
    ] = ()
    """Algorithms of which the best on the validation part is kept: names, or {algorithm: …, hyperparameters: {…}}."""

    @model_validator(mode="before")
    @classmethod
    def _newest(cls, given: object) -> object:
        """Give an image other than xgboost its own version."""
        image = given.get("image") if isinstance(given, dict) else None
        if isinstance(given, dict) and "version" not in given and image in FRAMEWORKS and image != "xgboost":
            return given | {"version": usable_versions(image)[-1]}
        return given

    @model_validator(mode="after")
    def _check(self) -> Algorithm:
        problems = _hyperparameter_problems(self.hyperparameters)
        # The version of an image of one's own counts for nothing, and is held against the default image's.
        wrong = version_problem(self.image if self.image in FRAMEWORKS else "xgboost", self.version)
        if wrong is not None:
            problems.append(wrong)
        if self.candidates and self.name is not None:
            hint = "A city that wants one algorithm where the fleet has candidates writes candidates: []."
            problems.append(
                Problem(show_value(self.name), "null beside candidates", hint=hint, path=("name",))
            )
        seen: list[Candidate] = []
        for index, candidate in enumerate(self.candidates):
            if candidate in seen:
                got = f"{candidate.algorithm!r} with the same hyperparameters a second time"
                problems.append(Problem(got, "each candidate once", path=("candidates", index)))
            seen.append(candidate)
        given = self.hyperparameters.get("seed")
        if given is not None:
            path = ("hyperparameters", "seed")
            if not isinstance(given, int) or isinstance(given, bool) or not 0 <= given < 2**31:
                problems.append(Problem(show_value(given), _SEED.allowed, path=path))
            elif self.seed is not None and given != self.seed:
                problems.append(Problem(str(given), f"algorithm.seed, which is {self.seed}", path=path))
        return or_refuse(self, problems)

    @property
    def seed_of_run(self) -> int:
        """The seed of a run."""
        return self.seed if self.seed is not None else int(self.hyperparameters.get("seed", 0))

    def trained(self) -> list[tuple[tuple[str | int, ...], str, dict[str, Any]]]:
        """Return what is trained: where its hyperparameters stand, the algorithm, and those without the seed."""
        own = {name: value for name, value in self.hyperparameters.items() if name != "seed"}
        if not self.candidates:
            return [(("hyperparameters",), self.name or DEFAULT_ALGORITHM, own)]
        found: list[tuple[tuple[str | int, ...], str, dict[str, Any]]] = []
        for index, each in enumerate(self.candidates):
            bare = each.algorithm == DEFAULT_ALGORITHM and not each.hyperparameters
            path = ("hyperparameters",) if bare else ("candidates", index, "hyperparameters")
            found.append((path, each.algorithm, own if bare else dict(each.hyperparameters)))
        return found


def _hyperparameter_problems(given: dict[str, Any]) -> list[Problem]:
    problems = []
    for name in given:
        path = ("hyperparameters", name)
        if name in RESERVED_HYPERPARAMETERS or name.startswith(("sagemaker_", "_")):
            allowed = "any parameter but those the library sets itself"
            problems.append(Problem("a reserved name", allowed, path=path, of_key=True))
        elif not name or len(name) > 256:
            problems.append(Problem(f"a name of {len(name)} characters", "1 to 256", path=path, of_key=True))
    if len(given) > MAX_HYPERPARAMETERS:
        got = f"{len(given)} hyperparameters"
        problems.append(Problem(got, f"at most {MAX_HYPERPARAMETERS}", path=("hyperparameters",)))
    return problems
