"""The command line as a whole: the commands of every module, by what they are for."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Annotated, Any

import typer
from typer.completion import completion_init
from typer.core import TyperArgument, TyperCommand, TyperGroup

from city_fleet.cli.approve import approve, reject, waiting
from city_fleet.cli.backfill import backfill
from city_fleet.cli.captured_command import captured
from city_fleet.cli.challenge_command import challenge
from city_fleet.cli.cities_command import cities
from city_fleet.cli.compare_command import compare
from city_fleet.cli.compile_command import compile
from city_fleet.cli.completion import VARIABLE as COMPLETE_VARIABLE
from city_fleet.cli.completion import completion
from city_fleet.cli.cost_command import cost
from city_fleet.cli.data import data
from city_fleet.cli.deploy_command import deploy
from city_fleet.cli.digest_command import digest
from city_fleet.cli.doctor import doctor
from city_fleet.cli.explain_command import explain
from city_fleet.cli.forecasts_command import forecasts
from city_fleet.cli.history import history
from city_fleet.cli.import_command import import_
from city_fleet.cli.ingest_command import ingest
from city_fleet.cli.install import install
from city_fleet.cli.lint_command import lint, schema
from city_fleet.cli.migrate import migrate
from city_fleet.cli.outcome_command import outcome
from city_fleet.cli.output import errors, say
from city_fleet.cli.pausing import pause, unpause
from city_fleet.cli.plan_command import plan
from city_fleet.cli.predict_command import predict
from city_fleet.cli.promote import promote
from city_fleet.cli.rebuild_command import rebuild
from city_fleet.cli.remove_command import remove
from city_fleet.cli.retire_command import retire
from city_fleet.cli.rollback import rollback, unpin
from city_fleet.cli.run_command import run
from city_fleet.cli.score_command import score
from city_fleet.cli.status import status
from city_fleet.cli.try_command import try_
from city_fleet.config.places import command_name, version
from city_fleet.errors import show_value

#: By what they are about, in the order in which a newcomer meets them; the help lists them so.
COMMANDS: dict[str, tuple[Callable[..., None], ...]] = {
    "Settings": (lint, cities, plan, schema, compile),
    "Data": (ingest, data),
    "Runs": (run, backfill, pause, unpause, status, digest, cost),
    "Models": (
        predict,
        score,
        forecasts,
        captured,
        outcome,
        history,
        rollback,
        unpin,
        promote,
        challenge,
        waiting,
        approve,
        reject,
        rebuild,
    ),
    "Own a model": (try_, explain, compare, import_),
    "Fleet": (doctor, install, deploy, migrate, retire, remove, completion),
}

HELP = """Look after fleets of models, one model per city.

A fleet is described by a YAML file in include/fleets, or in the folder that CITY_FLEET_FLEETS names. Commands work
on all fleets unless --fleet names one. While a local stack is up (`make up`) they work against it, else against AWS.

\b
Words:
  slug          a city's key, such as fort_worth; "Fort Worth" does too
  run           one pass of a city's DAG: train, judge, publish if good
  as_of         the moment of a run: it sees what was known by then
  gate          the rules that a new model must pass to go live
  live pointer  the S3 object that names the model a city is served by
  version       a trained model in the registry: SageMaker's model package
  pinned        no new model of the city goes live until ./fleet unpin

\b
Examples:
  ./fleet doctor              is everything set up?
  ./fleet status              which cities need attention?
  ./fleet run "Fort Worth"    retrain a city now, and watch it
  ./fleet predict austin      what comes next, by the model that serves
  ./fleet rollback --help     options and examples of one command

Exit codes: 0 done, 1 something could not be done, 2 wrong usage.
docs/runbook.md says what to do when something is wrong.
"""


def _purpose(command: tuple[str, Any]) -> str:
    return str(command[1].rich_help_panel)


_OF_NUMBERS = ("int_parsing", "float_parsing", "greater_than_equal", "less_than_equal", "finite_number")


def _allowed(param: Any, mistake: str) -> str:
    """Return in words which numbers an option takes.

    :param mistake: pydantic's name of what is wrong.
    """
    words = ["a whole number" if mistake == "int_parsing" else "a number"]
    low, high = getattr(param, "min", None), getattr(param, "max", None)
    if low is not None:
        words.append(f"from {low:,}")
    if high is not None:
        words.append(f"to {high:,}")
    elif low is not None:
        words.append("on")
    return " ".join(words)


class FleetCommand(TyperCommand):
    """Prints an error of this library as text or JSON, and exits with what the help says."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        for param in self.get_params(ctx):
            if isinstance(param, TyperArgument):
                # Python's type, list[str], tells nobody anything.
                setattr(param, "display_type_rich", lambda ctx: "")  # noqa: B010
        super().format_options(ctx, formatter)

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            # Typer has pydantic look at values, in whose words a mistake of a number speaks of an input.
            found: Any = getattr(error.__cause__, "errors", list)()
            if found and found[0]["type"] in _OF_NUMBERS:
                error.message = (
                    f"got {show_value(found[0]['input'])}; allowed: {_allowed(error.param, found[0]['type'])}"
                )
            raise

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


def _version(wanted: bool) -> None:
    if wanted:
        say(f"City Fleet {version()}")
        raise typer.Exit


app = typer.Typer(
    cls=CommandsByPurpose,
    no_args_is_help=True,
    add_completion=False,  # two options in every help; `completion` is a command
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@app.callback(help=HELP)
def fleet(
    *,
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """What all commands have in common."""


for purpose, commands in COMMANDS.items():
    for command in commands:
        # A name that Python has taken ends in an underscore.
        app.command(command.__name__.rstrip("_"), cls=FleetCommand, rich_help_panel=purpose)(command)


def main(arguments: list[str] | None = None) -> None:
    """Run ``./fleet``, which an installed wheel calls ``city-fleet``.

    :param arguments: those of this process by default.
    """
    completion_init()
    app(args=arguments, prog_name=command_name(), complete_var=COMPLETE_VARIABLE)


if __name__ == "__main__":
    main()
