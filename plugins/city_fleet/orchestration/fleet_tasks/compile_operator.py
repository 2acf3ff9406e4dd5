"""Airflow operator of the fleet's ``_reconcile`` DAG: keep the fleet file's form where all machines find it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowSkipException
from botocore.config import Config

from city_fleet.config.usable_fleets import read_and_compile
from city_fleet.errors import FleetFileError
from city_fleet.orchestration.fleet_tasks.fleet_operator import FleetOperator
from city_fleet.state import form_store
from city_fleet.state.objects import ObjectStore

if TYPE_CHECKING:
    from airflow.sdk import Context

COMPILE = "compile"


class CompileOperator(FleetOperator):
    """Write the form of the fleet file to S3, unless it is there. Skips itself while the file can't be used.

    Returns the form's digest.
    """

    def execute(self, context: Context) -> str:
        try:
            reading, form = read_and_compile(self.fleet.path, os.environ)
        except FleetFileError as error:
            raise AirflowSkipException(f"The last good form stays: {error}") from error
        if form is None:
            raise AirflowSkipException("No form can be made of the file as it is now")
        keys = reading.fleet.keys
        objects = ObjectStore(self.client("s3", Config()), keys.bucket)
        uri = keys.uri(keys.compiled_manifest(form.digest))
        if form_store.current(objects, keys) == form.digest:
            self.log.info("%s is the last good form already", uri)
        else:
            form_store.keep(objects, keys, form.digest, form.manifest, form.digested_shards())
            self.log.info("%s is the last good form now", uri)
        return form.digest
