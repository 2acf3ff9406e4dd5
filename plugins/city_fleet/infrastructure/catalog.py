"""The tables of forecasts in the Glue catalog, by which Athena finds them, and who may read them. Pure.

No crawler looks for new nights: partition projection tells Athena by the table's own properties where a night's rows
lie (https://docs.aws.amazon.com/athena/latest/ug/partition-projection.html).
"""

from __future__ import annotations

from typing import Any

from city_fleet.infrastructure import policies
from city_fleet.infrastructure.cloudformation import Resource, document, ref, resource
from city_fleet.infrastructure.names import StackNames
from city_fleet.state.forecast_table import COLUMNS

TABLE = "forecasts"
_HIVE = "org.apache.hadoop.hive.ql.io.parquet"
#: The partition: in the keys, and in no row.
_NIGHT = {"Name": "night", "Type": "string", "Comment": "newest tick of the fleet's schedule, an ISO date"}


def resources(names: StackNames) -> dict[str, Resource]:
    """Return the database, the table and the policy of who reads it; none where the fleet asks for none."""
    if not names.fleet.forecasts.catalog:
        return {}
    account = ref("AWS::AccountId")
    return {
        "Catalog": resource(
            "AWS::Glue::Database",
            {
                "CatalogId": account,
                "DatabaseInput": {"Name": names.database, "Description": f"City Fleet: {names.stack}"},
            },
        ),
        "ForecastsTable": resource(
            "AWS::Glue::Table",
            {"CatalogId": account, "DatabaseName": ref("Catalog"), "TableInput": _table(names)},
        ),
        "AnalystPolicy": resource(
            "AWS::IAM::ManagedPolicy",
            {
                "ManagedPolicyName": names.of("analyst"),
                "Description": f"Whoever reads the tables of forecasts: {names.stack}",
                "PolicyDocument": document(*policies.of_installation(names, "analyst", "key_reader")),
            },
        ),
    }


def _table(names: StackNames) -> dict[str, Any]:
    keys = names.fleet.keys
    return {
        "Name": TABLE,
        "Description": "Each night's forecasts of all cities: docs/forecasts.md",
        "TableType": "EXTERNAL_TABLE",
        "Parameters": {
            "EXTERNAL": "TRUE",
            "classification": "parquet",
            "projection.enabled": "true",
            "projection.night.type": "date",
            "projection.night.format": "yyyy-MM-dd",
            "projection.night.range": f"{names.fleet.start_date.isoformat()},NOW",
            "projection.night.interval": "1",
            "projection.night.interval.unit": "DAYS",
        },
        "PartitionKeys": [_NIGHT],
        "StorageDescriptor": {
            "Location": keys.uri(keys.forecasts_prefix()),
            "InputFormat": f"{_HIVE}.MapredParquetInputFormat",
            "OutputFormat": f"{_HIVE}.MapredParquetOutputFormat",
            "SerdeInfo": {"SerializationLibrary": f"{_HIVE}.serde.ParquetHiveSerDe"},
            "Columns": [{"Name": each.name, "Type": each.kind, "Comment": each.meaning} for each in COLUMNS],
        },
    }
