"""A task's lineage in the words of OpenLineage. Imported where Airflow's provider of it asks, and nowhere else."""

from __future__ import annotations

from airflow.providers.openlineage.extractors import OperatorLineage
from attrs import Factory, define
from openlineage.client.event_v2 import Dataset
from openlineage.client.facet_v2 import RunFacet, dataset_version_dataset

from city_fleet.orchestration import lineage

#: Name of the run facet.
FACET = "cityFleet"


@define
class CityFleetRunFacet(RunFacet):
    """Whose a task is, by which job of SageMaker, and where exactly it has written.

    :ivar uris: in S3, of this run.
    """

    fleet: str = ""
    environment: str = ""
    city: str = ""
    cohort: str = ""
    asOf: str = ""
    runKey: str = ""
    job: str = ""
    modelPackageArn: str = ""
    targetModel: str = ""
    uris: list[str] = Factory(list)


def told(found: lineage.Lineage | None) -> OperatorLineage:
    """Return what the provider writes into the task's event.

    :param found: None for a task that has read and made nothing that a catalog knows.
    """
    if found is None:
        return OperatorLineage()
    return OperatorLineage(
        inputs=[_dataset(each) for each in found.inputs],
        outputs=[_dataset(each) for each in found.outputs],
        run_facets={FACET: CityFleetRunFacet(**found.facts)},  # type: ignore[arg-type]
    )


def _dataset(of: lineage.Dataset) -> Dataset:
    version = (
        {"version": dataset_version_dataset.DatasetVersionDatasetFacet(of.version)} if of.version else {}
    )
    return Dataset(namespace=of.namespace, name=of.name, facets=version)
