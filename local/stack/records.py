"""The written record of a stack that runs detached, and the lock of its state directory."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date
from pathlib import Path

from local.stack.engine import Engine
from local.stack.errors import StackError
from local.stack.layout import Layout
from local.stack.processes import Recorded
from local.stack.secrets_file import write_private


def _file(state_dir: Path) -> Path:
    return state_dir / "processes.json"


def write(layout: Layout, recorded: list[Recorded]) -> None:
    """Remember a detached stack: ports and processes."""
    document = {
        "ui_port": layout.ui_port,
        "sagemaker_port": layout.sagemaker_port,
        "execution_port": layout.execution_port,
        "database_port": layout.database_port,
        "broker_port": layout.broker_port,
        "engine": asdict(layout.engine),
        "triggerers": layout.triggerers,
        "replay_since": layout.replay_since.isoformat() if layout.replay_since else None,
        "fleets_dir": str(layout.fleets_dir),
        "processes": [record.to_dict() for record in recorded],
    }
    write_private(_file(layout.state_dir), json.dumps(document, indent=2) + "\n")


def read(state_dir: Path) -> tuple[Layout, list[Recorded]] | None:
    """Return the layout and processes of a detached stack; None where there is no record."""
    try:
        document = json.loads(_file(state_dir).read_text())
        layout = Layout(
            state_dir=state_dir,
            ui_port=document["ui_port"],
            sagemaker_port=document["sagemaker_port"],
            execution_port=document["execution_port"],
            database_port=document["database_port"],
            broker_port=document["broker_port"],
            engine=Engine(**document["engine"]),
            triggerers=document["triggerers"],
            replay_since=date.fromisoformat(since) if (since := document["replay_since"]) else None,
            fleets_dir=Path(document["fleets_dir"]),
        )
        recorded = [Recorded(**record) for record in document["processes"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (layout, recorded) if recorded else None


def forget(layout: Layout) -> None:
    """Remove the record: the stack has ended."""
    _file(layout.state_dir).unlink(missing_ok=True)


@contextmanager
def exclusive(state_dir: Path) -> Iterator[None]:
    """Hold a state directory's lock: one `make up`, `make down` or `make demo` at a time.

    :raises StackError: another one holds it
    """
    state_dir.parent.mkdir(parents=True, exist_ok=True)
    with (state_dir.parent / f"{state_dir.name}.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StackError(f"Another command works on {state_dir}; wait until it has finished.") from error
        yield
