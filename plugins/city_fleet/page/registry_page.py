"""The registry as plain lists: each city's versions, and where one comes from: run, jobs, data, code, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TookTooLong
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError
from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import RedirectResponse, Response

from city_fleet import aws_errors, naming
from city_fleet.errors import CityFleetError
from city_fleet.jobs.sagemaker_jobs import PROCESSING, TRAINING
from city_fleet.outgoing_text import printable
from city_fleet.page import asked, rendering
from city_fleet.page.asked import Asked, AskedFleet, Readings
from city_fleet.page.city_page import who
from city_fleet.page.permissions import NEEDS
from city_fleet.page.reading import dag_id_of
from city_fleet.state import registry, registry_search
from city_fleet.state.registry import ModelPackage
from city_fleet.views import fleet_table
from city_fleet.views.consoles import ConsolePages
from city_fleet.views.fleet_table import TableQuestion

router = APIRouter()
T = TypeVar("T")
#: Nobody waits longer for the registry; it is asked anew by whoever looks again.
_PATIENCE_SECONDS = 8.0
_MOST_VERSIONS = 200
_pool = ThreadPoolExecutor(8, thread_name_prefix="city-fleet-registry")


def _answer(question: Callable[[], T]) -> T:
    """Return what AWS says.

    :raises HTTPException: 503, where it refuses, or does not answer in time.
    """
    try:
        return _pool.submit(question).result(timeout=_PATIENCE_SECONDS)
    except TookTooLong:
        sentence = (
            f"SageMaker has not answered within {_PATIENCE_SECONDS:.0f} seconds. Look again in a moment."
        )
        raise HTTPException(503, sentence) from None
    except (ClientError, BotoCoreError) as error:
        raise HTTPException(
            503, f"SageMaker can't be asked: {printable(aws_errors.sentence(error))}"
        ) from None
    except CityFleetError as error:
        raise HTTPException(404, str(error)) from None


@dataclass(frozen=True)
class AskedGroup:
    """A city's package group, as one person sees it."""

    here: Asked
    slug: str
    group: str

    @property
    def dag_id(self) -> str:
        return dag_id_of(self.here.fleet, self.slug)


def _asked_group(slug: str, here: AskedFleet) -> AskedGroup:
    """:raises HTTPException: 404, where the fleet has no such city, or none that the person may see."""
    known = {*here.fleet.cities, *here.fleet.broken, *here.look.dag_ids}
    if not naming.is_slug(slug) or slug not in known or (here.slugs is not None and slug not in here.slugs):
        raise HTTPException(404, f"Fleet {here.fleet.fleet} has no city {slug!r}.")
    return AskedGroup(here, slug, naming.package_group(here.fleet.fleet, here.fleet.environment, slug))


Group = Annotated[AskedGroup, Depends(_asked_group)]


@router.get("/registry/{fleet}")
def groups(request: Request, here: AskedFleet, reading: Readings) -> Response:
    """List the package groups of a fleet; what a target model names is found too."""
    look, question = here.look, TableQuestion.of_query({"sort": "city", **request.query_params})
    target = _target(question.q)
    if target is not None and look.row(target[0]) is not None:
        return RedirectResponse(f"{here.fleet.fleet}/{target[0]}?target={question.q}", 307)
    page = fleet_table.page_of(look.rows, question, groups=look.groups, seen=here.slugs)
    return rendering.render(
        request,
        "registry.html",
        title=f"Registry of {here.fleet.fleet}",
        look=look,
        page=page,
        question=page.question,
        names=asked.names_of(reading, here.visitor),
        group_of=lambda slug: naming.package_group(here.fleet.fleet, here.fleet.environment, slug),
    )


def _target(text: str) -> tuple[str, Any, str] | None:
    try:
        return naming.parse_target_model(text.strip())
    except ValueError:
        return None


@router.get("/registry/{fleet}/{slug}")
def group(request: Request, asked_of: Group, reading: Readings, target: str = "") -> Response:
    """List a city's versions, the newest first; with ``?target=`` lead to the version of a target model."""
    here = asked_of.here
    sagemaker = reading.clients(here.fleet).sagemaker
    found = _answer(lambda: list(registry_search.of_group(sagemaker, asked_of.group, _MOST_VERSIONS)))
    if target:
        number = next((each.number for each in found if _serves_as(each, asked_of.slug) == target), None)
        if number is None:
            raise HTTPException(404, f"No version of {asked_of.group} is {target}.")
        return RedirectResponse(f"{asked_of.slug}/{number}", 307)
    row = here.look.row(asked_of.slug)
    return rendering.render(
        request,
        "group.html",
        title=asked_of.group,
        asked=asked_of,
        look=here.look,
        fleet=here.fleet.fleet,
        versions=sorted(found, key=lambda each: -each.number),
        serving=row.status.champion.package_arn if row and row.status.champion else "",
        name=row.status.name if row else asked_of.slug,
        may={action: here.visitor.may(action, [asked_of.dag_id]) for action in NEEDS},
        most=_MOST_VERSIONS,
        who=lambda text: who(here.fleet.fleet, asked_of.slug, text),
    )


def _serves_as(version: ModelPackage, slug: str) -> str | None:
    """Return the target model of a version; None where City Fleet did not register it."""
    try:
        as_of = naming.parse_as_of(version.metadata["as_of"])
        return naming.target_model(slug, as_of, version.metadata["artifact_sha256"])
    except (KeyError, ValueError):
        return None


@dataclass(frozen=True)
class Fact:
    """A line of a version's lineage.

    :param links: text → address; one that is empty is no link.
    :param airflow: path below Airflow's first page; empty for none.
    """

    name: str
    value: str
    links: tuple[tuple[str, str], ...] = ()
    airflow: str = ""


@router.get("/registry/{fleet}/{slug}/{version}")
def version_page(request: Request, version: int, asked_of: Group, reading: Readings) -> Response:
    """Show where one version comes from, and what became of it."""
    here = asked_of.here
    clients = reading.clients(here.fleet)

    def look() -> ModelPackage:
        for each in registry.versions(clients.sagemaker, asked_of.group):
            if each.number == version:
                return registry.read(clients.sagemaker, each.arn)
        raise HTTPException(404, f"{asked_of.group} has no version {version}.")

    found = _answer(look)
    pages = ConsolePages.of(clients.sagemaker)
    row = here.look.row(asked_of.slug)
    return rendering.render(
        request,
        "version.html",
        title=f"{asked_of.group}, version {version}",
        asked=asked_of,
        look=here.look,
        fleet=here.fleet.fleet,
        version=found,
        decided_by=who(here.fleet.fleet, asked_of.slug, found.metadata.get("decided_by", "")),
        facts=lineage(found, asked_of, pages),
        page=pages.package(found.arn),
        serves=bool(row and row.status.champion and row.status.champion.package_arn == found.arn),
        name=row.status.name if row else asked_of.slug,
        may={action: here.visitor.may(action, [asked_of.dag_id]) for action in NEEDS},
    )


def lineage(version: ModelPackage, asked_of: AskedGroup, pages: ConsolePages) -> list[Fact]:
    """Return where a version comes from, from what an application asks for back to data and code."""
    said, keys = version.metadata, asked_of.here.fleet.keys
    found = [Fact("Model package", version.arn, (("SageMaker", pages.package(version.arn)),))]
    target = _serves_as(version, asked_of.slug)
    if target is not None:
        uri = keys.uri(keys.model(target))
        found.insert(0, Fact("Target model", target, (("S3", _s3(pages, uri)),)))
    found.append(_uri(pages, "Artifact of training", version.artifact_uri))
    run_id = naming.run_id_of_tag(said["dag_run"]) if "dag_run" in said else ""
    if run_id:
        path = f"dags/{rendering.quoted(asked_of.dag_id)}/runs/{rendering.quoted(run_id)}"
        found.append(Fact("Run", f"{asked_of.dag_id} · {run_id}", airflow=path))
    if run_key := said.get("run_key"):
        found.append(Fact("Run key", run_key))
    jobs: dict[str, list[str]] = {}
    for step in ("preprocess", "train", "evaluate"):
        if job := said.get(f"{step}_job"):
            jobs.setdefault(job, []).append(step)
    for job, steps in jobs.items():
        kind = TRAINING if "train" in steps else PROCESSING  # a cohort's one job of all steps trains
        links = (("SageMaker", pages.job(kind, job)), ("log", pages.log(kind, job)))
        found.append(Fact(f"Job {steps[0]}" if len(steps) == 1 else "Job of all steps", job, links))
    found += [
        _uri(pages, name, said.get(member, ""))
        for name, member in (
            ("Data", "manifest_uri"),
            ("Code", "code_uri"),
            ("Evaluation", "evaluation_uri"),
            ("Decision", "decision_uri"),
        )
    ]
    digests: Mapping[str, str] = {"Settings": "settings_digest", "Artifact's SHA-256": "artifact_sha256"}
    found += [Fact(name, said.get(member, "")) for name, member in digests.items()]
    found.append(Fact("Data until", said.get("data_until", "")))
    return [fact for fact in found if fact.value]


def _uri(pages: ConsolePages, name: str, uri: str) -> Fact:
    return Fact(name, uri, (("S3", _s3(pages, uri)),) if uri else ())


def _s3(pages: ConsolePages, uri: str) -> str:
    try:
        return pages.s3(uri)
    except ValueError:
        return ""
