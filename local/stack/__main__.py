"""`python -m local.stack up | down | status | demo | serve | env`: what the Makefile calls."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

from local import ROOT, without_foreign

sys.path[:] = without_foreign(sys.path)
# The library lives where Airflow looks for it; nothing has to be installed.
sys.path.insert(0, str(ROOT / "plugins"))

import typer
from rich.console import Console

from local.stack import commands, demo_scale
from local.stack import demo as demonstration
from local.stack import serve as predictions
from local.stack.engine import choose_engine
from local.stack.errors import StackError, UsageError
from local.stack.layout import SAGEMAKER_PORT, UI_PORT

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Runs City Fleet on this machine: Airflow and the local SageMaker.",
    rich_markup_mode=None,
)
console = Console(highlight=False, soft_wrap=True)

UP_DIR = ROOT / ".local" / "up"
DEMO_DIR = ROOT / ".local" / "demo"

StateDir = Annotated[
    Path, typer.Option(help="Folder in which the stack keeps its databases, logs and ports.")
]


@app.command()
def up(
    *,
    ui_port: Annotated[int, typer.Option(help="Port of Airflow's UI and API.")] = UI_PORT,
    sagemaker_port: Annotated[int, typer.Option(help="Port of the local SageMaker.")] = SAGEMAKER_PORT,
    fleet: Annotated[str, typer.Option(help="Fleet to start with: its name or its file.")] = "",
    db: Annotated[str, typer.Option(help="Airflow's database: sqlite or postgres.")] = "",
    executor: Annotated[str, typer.Option(help="What runs tasks: local or celery.")] = "",
    workers: Annotated[str, typer.Option(help="How many workers there are, of celery.")] = "",
    state_dir: StateDir = UP_DIR,
    fresh: Annotated[bool, typer.Option(help="Delete the data of an earlier stack first.")] = False,
) -> None:
    """Start the stack and leave it running."""
    engine = choose_engine(db, executor, workers) if db or executor or workers else None
    commands.up(console, state_dir.resolve(), ui_port, sagemaker_port, fleet, engine=engine, fresh=fresh)


@app.command()
def down(state_dir: StateDir = UP_DIR) -> None:
    """Stop what `up` has started."""
    commands.down(console, state_dir.resolve())


@app.command()
def status(state_dir: StateDir = UP_DIR) -> None:
    """Say which processes run, where they can be reached, and how much memory they take."""
    raise typer.Exit(commands.status(console, state_dir.resolve()))


@app.command()
def demo(
    cities: Annotated[
        str,
        typer.Option(
            help="Slugs of the cities to retrain, separated by commas, or all; by default five big ones."
        ),
    ] = "",
    fleet: Annotated[str, typer.Option(help="Name or path of a fleet file.")] = "",
    as_of: Annotated[
        str,
        typer.Option(
            help="Train on what was known at this moment; by default at the end of each city's data."
        ),
    ] = "",
    state_dir: StateDir = DEMO_DIR,
) -> None:
    """Retrain a few cities on a new stack, print the results, stop the stack."""
    raise typer.Exit(demonstration.run(console, state_dir.resolve(), cities, fleet, as_of))


@app.command(name="demo-scale")
def demo_of_many(
    customers: Annotated[int, typer.Option(help="How many.")] = 10_000,
    state_dir: StateDir = DEMO_DIR,
) -> None:
    """Train a model for each of thousands of synthetic customers on a new stack, print the results, stop the stack."""
    raise typer.Exit(demo_scale.run(console, state_dir.resolve(), customers))


@app.command()
def serve(
    fleet: Annotated[str, typer.Option(help="Name or path of a fleet file; by default the first.")] = "",
    port: Annotated[int, typer.Option(help="Port on loopback; 0 takes any that is free.")] = predictions.PORT,
    cors_origins: Annotated[str, typer.Option(help="Whose pages may ask, joined by commas.")] = "",
    state_dir: StateDir = UP_DIR,
) -> None:
    """Answer predictions as the Lambda function does, against the stack of `up`."""
    predictions.serve(console, state_dir.resolve(), fleet, port, cors_origins)


@app.command()
def env(state_dir: StateDir = UP_DIR) -> None:
    """Print the stack's environment as shell exports: eval "$(python -m local.stack env)"."""
    commands.env(state_dir.resolve())


def _on_terminate(number: int, frame: FrameType | None) -> NoReturn:
    """End as on Ctrl-C, so that every `finally` runs."""
    raise KeyboardInterrupt


def main() -> int:
    """Run the command line; say errors in one paragraph.

    :return: exit code
    """
    signal.signal(signal.SIGTERM, _on_terminate)
    signal.signal(signal.SIGHUP, _on_terminate)
    try:
        code = app(standalone_mode=False)
    except StackError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"error: {error}", markup=False)
        return 2 if isinstance(error, UsageError) else 1
    except typer.Exit as stop:
        return stop.exit_code
    except (KeyboardInterrupt, typer.Abort):
        Console(stderr=True).print("stopped")
        return 130
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    sys.exit(main())
