"""A cohort's nights with real operators and jobs, under the Airflow of ``nights.py``; its city task is mapped."""

from __future__ import annotations

from typing import Any

from city_fleet.jobs.cohort_plan import BEGIN, CITY, RECORD_COHORT, TRAIN_COHORT
from tests.support.nights import Night, NightTask


class MappedTask(NightTask):
    """What a task of a cohort's DAG asks of Airflow: of the mapped task, about one index or about all."""

    @property
    def task_id(self) -> str:
        return CITY if self.map_index >= 0 else self.place.task_id

    def xcom_pull(self, *, task_ids: Any, key: str = "return_value", map_indexes: int = -1) -> Any:
        if task_ids not in (CITY, [CITY]):
            return super().xcom_pull(task_ids=task_ids, key=key)
        if map_indexes >= 0:
            return super().xcom_pull(task_ids=f"{CITY}_{map_indexes}", key=key)
        found = [
            value
            for (place, name), value in sorted(self.database.values.items())
            if (place.dag_id, place.run_id, name) == (self.dag_id, self.run_id, key)
            and place.task_id.startswith(f"{CITY}_")
        ] or [None]
        # As Airflow (3.3.2) has it: where one mapped task alone has a value, no list of it.
        return found[0] if task_ids == CITY and len(found) == 1 else found


class CohortNight(Night):
    """One DAG run of a cohort; its city tasks are called ``city_0`` and so on."""

    def context(self, task_id: str) -> dict[str, Any]:
        context = super().context(task_id)
        index = int(task_id.partition("_")[2] or -1) if task_id.startswith(CITY) else -1
        ti = MappedTask(self.database, self.place(task_id), index)
        return {**context, "ti": ti, "task_instance": ti, "triggering_asset_events": {}}

    def operator(self, task_id: str) -> Any:
        if not task_id.startswith(f"{CITY}_"):
            return self.dag.get_task(task_id)
        slug = self.value(BEGIN)[int(task_id.partition("_")[2])]
        return self.dag.get_task(CITY).unmap({"slug": slug})

    def city(self, slug: str) -> str:
        """Return the name of a city's task."""
        return f"{CITY}_{self.value(BEGIN).index(slug)}"

    def end(self) -> dict[str, str]:
        """Run the city tasks, whatever becomes of each, and the record; return slug → its task's error, or nothing."""
        errors = {}
        for slug in self.value(BEGIN):
            try:
                self.finish(self.city(slug))
            except Exception as error:
                errors[slug] = f"{type(error).__name__}: {error}"
        self.finish(RECORD_COHORT)
        return errors

    def all(self) -> dict[str, str]:
        """Run everything."""
        self.finish(BEGIN)
        self.finish(TRAIN_COHORT)
        return self.end()
