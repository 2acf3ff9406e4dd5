"""What the commands up, down, status and env do and say."""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from pathlib import Path

from rich.console import Console

from city_fleet import naming
from city_fleet.config import fleet_files, load_fleet
from city_fleet.errors import CityFleetError, FleetFileError
from city_fleet.plan import ENDPOINT_PURPOSE
from local import ROOT
from local.stack import environment, first_models, records
from local.stack.choice import DEFAULT_FLEET, find_fleet
from local.stack.disk_space import lack_of_room, require_room
from local.stack.engine import Engine
from local.stack.errors import StackError
from local.stack.layout import Layout
from local.stack.ports import require_free_ports
from local.stack.programs import require_servers
from local.stack.runs import start_run, wait_for_dags, wait_for_run
from local.stack.secrets_file import SECRETS_FILE, stack_secrets
from local.stack.seed import seed
from local.stack.stack import Stack

#: Holds the day on which the samples' replay began.
REPLAY_FILE = "replay_since"


def up(
    console: Console,
    state_dir: Path,
    ui_port: int,
    sagemaker_port: int,
    fleet: str,
    *,
    engine: Engine | None = None,
    fresh: bool = False,
) -> None:
    """Start a detached stack, unless it runs already. What an earlier one has left is taken up again.

    :param engine: which database and which executor; None where nobody has asked for one
    :param fresh: delete the data of an earlier stack first; nothing else ever deletes them
    :param fleet: name or path of a fleet file: its folder is the one Airflow reads; empty for include/fleets
    :raises StackError: it could not be started; nothing is left running then
    """
    folder = ROOT / "include" / "fleets"
    files = [find_fleet(fleet, folder)] if fleet else fleet_files(folder)
    with records.exclusive(state_dir):
        stack = Stack.find(state_dir)
        if stack is not None:
            dead = [record.name for record in stack.dead()]
            if dead:
                raise StackError(
                    f"The stack is up, but without {', '.join(dead)}. Run `make down`, then `make up`."
                )
            if engine is not None and stack.layout.engine != engine:
                raise StackError(
                    f"The stack is up already, with {stack.layout.engine}; asked for is {engine}. Run `make down`"
                    " first."
                )
            console.print("The stack is up already.")
            _tell(console, stack)
            return
        started = time.monotonic()
        layout = Layout(
            state_dir=state_dir,
            ui_port=ui_port,
            sagemaker_port=sagemaker_port,
            engine=engine or Engine(),
            fleets_dir=files[0].parent if files else folder,
            replay_since=_first_day(state_dir, fresh=fresh),
        )
        # These first: a start that can't be must leave everything as it was, also with FRESH=1.
        require_free_ports(layout)
        require_servers(layout)
        if not fresh:
            require_room(state_dir)
        if fresh:
            _clear(state_dir)
        elif missing := what_is_missing(layout):
            console.print(missing, markup=False)
        stack = Stack(layout, detached=True, say=lambda text: console.print(f"  {text}"))
        console.print("Starting the local SageMaker and Airflow")
        try:
            stack.start()
            (state_dir / REPLAY_FILE).write_text(f"{layout.replay_since}\n")
            files = sorted(files, key=lambda path: path.stem != DEFAULT_FLEET)
            begin_others = _prepare(console, stack, files)
        except BaseException:
            stack.stop()
            raise
        console.print(f"Up after {time.monotonic() - started:.0f} s.")
        _begin(console, stack, files, begin_others)
        _tell(console, stack)


def _first_day(state_dir: Path, *, fresh: bool) -> date:
    """Return the day on which this state directory was first up: its samples' months are replayed from then on."""
    with suppress(OSError, ValueError):
        if not fresh:
            return date.fromisoformat((state_dir / REPLAY_FILE).read_text().strip())
    return datetime.now(UTC).date()


def _begin(console: Console, stack: Stack, files: list[Path], begin_others: Callable[[], None]) -> None:
    """Have the scheduler train the first fleet's first cities; a stack on which that fails is up all the same."""
    if not files:
        return
    try:
        first_models.train(console, stack, files[0], begin_others)
    except (StackError, CityFleetError) as error:
        console.print(f"  {error}", markup=False)
        begin_others()


def what_is_missing(layout: Layout) -> str:
    """Say which part of an earlier stack's state is gone, what follows and what to do; empty where all is there.

    Each part refers to what the others hold, and does without it: what is there is never deleted on that account.

    :param layout: the folders of the stack that is about to start
    """
    database = layout.postgres_data if layout.engine.postgres else layout.database
    parts = {
        database: "Airflow's history begins empty, and all cities are paused: unpause those that should run.",
        layout.sagemaker_data / "store.sqlite3": "The registry, jobs, models and endpoints begin empty:"
        " each city needs a new run.",
        layout.sagemaker_data
        / "services.sqlite3": "S3 begins empty; what is in objects/ is set aside beside it,"
        " and the raw data are uploaded again.",
        layout.sagemaker_data / "objects": "The objects of S3 have lost their content: they are left out,"
        " and the raw data are uploaded again.",
    }
    missing = {path: effect for path, effect in parts.items() if not path.exists()}
    if len(missing) in (0, len(parts)):
        return ""
    return "\n".join(
        [
            "Part of the last stack's state is gone. What is left stays as it is.",
            *(f"  {path} is missing. {effect}" for path, effect in missing.items()),
            "  If you have a copy: `make down`, put it back, `make up`."
            " To forget all of it and begin afresh: `make down`, then `make up FRESH=1`.",
        ]
    )


def _clear(state_dir: Path) -> None:
    """Delete the state of Airflow and of the local SageMaker together: each refers to what the other holds.

    The secrets stay, and with them the password of the UI.
    """
    for entry in state_dir.iterdir() if state_dir.is_dir() else ():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != SECRETS_FILE:
            entry.unlink()


def _prepare(console: Console, stack: Stack, files: list[Path]) -> Callable[[], None]:
    """Upload each fleet's data, create the first one's endpoint and wait for it.

    A fleet for which that fails does not stop the others.

    :return: begins the endpoints of the others, once: they would take the processors from the first cities' training
    """
    run_id = f"up-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    first, others = files[:1], files[1:]
    made = [path for path in first if _upload(console, stack, path)]
    begun = {path: dag_id for path in made if (dag_id := _create_endpoint(console, stack, path, run_id))}
    left = [path for path in others if _upload(console, stack, path)]
    for path, dag_id in begun.items():
        with _one_of_many(console, path):
            wait_for_run(stack, dag_id, run_id)

    def begin_others() -> None:
        dag_ids = []
        while left:
            if dag_id := _create_endpoint(console, stack, left.pop(0), run_id):
                dag_ids.append(dag_id)
        if dag_ids:
            console.print(f"  In half a minute they are in service; Airflow shows {', '.join(dag_ids)}.")

    return begin_others


def _upload(console: Console, stack: Stack, path: Path) -> bool:
    """Upload a fleet's raw data; tells whether that went well."""
    console.print(f"Uploading the raw data of {path.name}")
    with _one_of_many(console, path):
        seed(stack, [path])
        return True
    return False


def _create_endpoint(console: Console, stack: Stack, path: Path, run_id: str) -> str | None:
    """Start the run that creates a fleet's endpoint; return its DAG, None where that failed."""
    with _one_of_many(console, path):
        fleet = load_fleet(path, stack.environment)
        dag_id = naming.fleet_dag_id(fleet.fleet, ENDPOINT_PURPOSE)
        wait_for_dags(stack, {dag_id})
        console.print(f"Creating the endpoint of {path.name}")
        start_run(stack, dag_id, run_id, {})
        return dag_id
    return None


@contextmanager
def _one_of_many(console: Console, path: Path) -> Iterator[None]:
    """Print what fails of a fleet, and go on."""
    try:
        yield
    except (StackError, FleetFileError) as error:
        console.print(f"  {path.name}: {error}", markup=False)


def _tell(console: Console, stack: Stack) -> None:
    """Say where things are and what to do next."""
    layout = stack.layout
    password = stack_secrets(layout)["ui_password"]
    console.print(f"""
  Airflow          {layout.ui_url}    user {environment.UI_USER}, password {password}
  local SageMaker  {layout.sagemaker_url}    also S3, SQS, IAM, STS, CloudWatch Logs
  logs             {layout.logs_dir}

  bin/airflow dags list                     Airflow's command line against this stack
  ./fleet --help                            the fleet's own
  make serve                                predictions over HTTP, as applications get them
  eval "$(make env)"                        its environment in your shell, for aws and boto3
  make status                               what runs
  make down                                 stop it all""")


def down(console: Console, state_dir: Path) -> None:
    """Stop exactly what `up` recorded."""
    with records.exclusive(state_dir):
        stack = Stack.find(state_dir)
        if stack is None:
            console.print("Nothing is up.")
            return
        stack.stop()
        console.print("The stack is down. Its state stays in " + str(state_dir))


def status(console: Console, state_dir: Path) -> int:
    """Say what runs.

    :return: 0 where all of it is healthy, else 1
    """
    stack = Stack.find(state_dir)
    if stack is None:
        console.print("Nothing is up.")
        return 1
    dead = {record.name for record in stack.dead()}
    unhealthy = set(stack.unhealthy())
    for record in stack.records:
        state = "ended" if record.name in dead else "not healthy" if record.name in unhealthy else "healthy"
        console.print(f"  {record.name:<15}{state:<13}process {record.pid:<9}{record.log}")
    if lack := lack_of_room(state_dir):
        console.print(f"  {lack}", markup=False)
    console.print(f"  memory in all: {stack.memory_mib():,.0f} MiB")
    _tell(console, stack)
    return 1 if dead or unhealthy else 0


def env(state_dir: Path) -> None:
    """Print the stack's environment as shell exports.

    :raises StackError: there is no stack
    """
    stack = Stack.find(state_dir)
    if stack is None:
        raise StackError("Nothing is up, so there is no environment to print. Run `make up` first.")
    for name, value in environment.build_environment(stack.layout).items():
        print(f"export {name}={shlex.quote(value)}")
