"""The command line as a whole: the commands of every module, by what they are for."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from city_fleet.cli.approve import approve, reject, waiting
from city_fleet.cli.backfill import backfill
from city_fleet.cli.cities_command import cities
from city_fleet.cli.compile_command import compile
from city_fleet.cli.data import data
from city_fleet.cli.deploy_command import deploy
from city_fleet.cli.digest_command import digest
from city_fleet.cli.doctor import doctor
from city_fleet.cli.history import history
from city_fleet.cli.ingest_command import ingest
from city_fleet.cli.install import install
from city_fleet.cli.lint_command import lint, schema
from city_fleet.cli.migrate import migrate
from city_fleet.cli.output import errors
from city_fleet.cli.plan_command import plan
from city_fleet.cli.predict_command import predict
from city_fleet.cli.promote import promote
from city_fleet.cli.rebuild_command import rebuild
from city_fleet.cli.remove_command import remove
from city_fleet.cli.retire_command import retire
from city_fleet.cli.rollback import rollback, unpin
from city_fleet.cli.status import status
from city_fleet.config.places import command_name

#: In the order in which a newcomer needs them; the help lists them so.
COMMANDS: dict[str, tuple[Callable[..., None], ...]] = {
    "Check": (doctor, lint, schema, compile),
    "Install": (install, deploy, migrate),
    "Data": (ingest, data),
    "Train and backfill": (plan, backfill),
    "Look": (status, digest, history, cities),
    "What serves": (predict, rollback, unpin, promote, rebuild),
    "Approve": (waiting, approve, reject),
    "Clean up": (retire, remove),
}

HELP = """Look after fleets of models, one model per city.

A fleet is described by a YAML file in include/fleets, or in the folder that CITY_FLEET_FLEETS names. Commands work
on all fleets unless --fleet names one. While a local stack is up (`make up`) they work against it, else against AWS.

\b
Words:
  slug          a city's name in the fleet file, such as austin
  run           one pass of a city's DAG: train, evaluate, and publish if good
  as_of         the moment of a run: it sees only data known by then
  gate          the rules that a new model must pass to go live
  live pointer  the S3 object that names the model a city is served by
  version       a trained model in the registry (SageMaker's model package)
  pinned        no new model of the city goes live until ./fleet unpin

\b
Examples:
  ./fleet doctor              is everything set up?
  ./fleet status              which cities need attention?
  ./fleet rollback austin     return to the model that served before
  ./fleet rollback --help     options and examples of one command

\b
Exit codes: 0 done, 1 something could not be done, 2 wrong usage.
docs/runbook.md says what to do when something is wrong.
"""


def _purpose(command: tuple[str, Any]) -> str:
    return str(command[1].rich_help_panel)


class FleetCommand(TyperCommand):
    """Prints an error of this library as text or JSON, and exits with 1."""

    def invoke(self, ctx: Any) -> Any:
        with errors(bool(ctx.params.get("as_json"))):
            return super().invoke(ctx)


class CommandsByPurpose(TyperGroup):
    """Lists commands by their help panel, which Typer itself does only where Rich draws the help."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        width = max(map(len, self.commands))
        room = formatter.width - width - 4
        for panel, commands in groupby(self.commands.items(), _purpose):
            with formatter.section(panel):
                formatter.write_dl(
                    [(f"{name:<{width}}", each.get_short_help_str(room)) for name, each in commands]
                )


app = typer.Typer(
    cls=CommandsByPurpose, help=HELP, no_args_is_help=True, add_completion=False, rich_markup_mode=None
)
for purpose, commands in COMMANDS.items():
    for command in commands:
        app.command(cls=FleetCommand, rich_help_panel=purpose)(command)


def main(arguments: list[str] | None = None) -> None:
    """Run ``./fleet``, which an installed wheel calls ``city-fleet``.

    :param arguments: those of this process by default.
    """
    app(args=arguments, prog_name=command_name())


if __name__ == "__main__":
    main()
