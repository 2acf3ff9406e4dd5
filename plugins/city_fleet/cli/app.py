"""The command line as a whole: every group of commands is one module with a Typer of its own, joined here."""

from __future__ import annotations

import typer

from city_fleet.cli import (
    approve,
    backfill,
    digest,
    doctor,
    history,
    lint,
    plan,
    predict,
    promote,
    rebuild,
    remove,
    retire,
    rollback,
    status,
)

HELP = """Look after fleets of models, one model per city.

A fleet is described by a file in include/fleets (or in the folder that CITY_FLEET_FLEETS names);
docs/fleet-file.md explains every field of it, docs/runbook.md what to do at night.

\b
Exit codes: 0 done, 1 something could not be done, 2 wrong usage.
"""

app = typer.Typer(help=HELP, no_args_is_help=True, add_completion=False, rich_markup_mode=None)
# In the order in which the help lists them.
GROUPS = (
    lint,
    plan,
    predict,
    status,
    history,
    rollback,
    approve,
    promote,
    rebuild,
    remove,
    retire,
    backfill,
    digest,
    doctor,
)
for group in GROUPS:
    app.add_typer(group.commands)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of ``./fleet``.

    :param arguments: the process's own by default.
    """
    app(args=arguments, prog_name="./fleet")


if __name__ == "__main__":
    main()
