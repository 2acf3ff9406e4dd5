"""The ``_hours`` DAG: there where a section has hours, and switched on from the beginning."""

from __future__ import annotations

from pathlib import Path

from city_fleet.orchestration.fleet_dags import fleet_dags
from tests.support.fleets import SMALL

HOURS = 'hours: {open: "07:00", close: "20:00", time_zone: Europe/Berlin}'


def test_only_a_fleet_whose_endpoints_have_hours_has_the_dag(tmp_path: Path) -> None:
    more = f"endpoints: {{linear: {{algorithms: [linear], {HOURS}}}}}\n"
    for name, section in {"small": f"endpoint: {{{HOURS}}}\n", "more": more, "other": ""}.items():
        text = SMALL.replace("fleet: small", f"fleet: {name}") + section + "cities: {austin: }\n"
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    found = {dag.dag_id: dag for dag in fleet_dags(tmp_path) if dag.dag_id.endswith("._hours")}
    assert set(found) == {"small._hours", "more._hours"}
    dag = found["small._hours"]
    assert dag.task_ids == ["keep_hours"]
    assert dag.is_paused_upon_creation is False
    assert not dag.catchup
    assert dag.max_active_runs == 1
    assert "`small._endpoint`" in str(dag.doc_md)
