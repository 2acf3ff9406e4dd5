"""Finds the processes of a stack that can be struck, and strikes them."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass

import psutil

from local.stack import processes
from local.stack.stack import Stack
from tests.e2e.chaos import blows, full_disk
from tests.e2e.chaos.blows import Blow

_WORKER_TITLE = "airflow worker -- LocalExecutor:"
_IDLE = "<idle>"
# A component that has just come up is left alone until it has had time to take up its work, or nothing would ever
# get done.
_SETTLE_SECONDS = {"scheduler": 12.0, "triggerer": 8.0, "sagemaker": 6.0}


@dataclass(frozen=True)
class Victim:
    """What one blow strikes.

    :param name: what the report calls it.
    :param processes: all get the signal.
    """

    name: str
    processes: tuple[psutil.Process, ...]


class Targets:
    """The processes of one stack. A freeze or a full disk ends by a timer, whatever its caller waits for."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._frozen: dict[int, tuple[threading.Timer, psutil.Process]] = {}

    def find(self, blow: Blow, running: Collection[str]) -> Victim | None:
        """Return the process that a blow strikes, or None where there is none at the moment.

        :param running: ids of the task instances that run. A worker that has not reported its task as running yet is
            left alone: its task would stay queued for ever, because LocalExecutor can't take a task back (Airflow
            3.3.2: `LocalExecutor.revoke_task` is not implemented).
        """
        if blow.target in (blows.WORKER, blows.TASK, blows.NODE):
            found = self._workers(blow.target, running)
        else:
            found = self._components(blow.target)
        free = [victim for victim in found if not any(each.pid in self._frozen for each in victim.processes)]
        return free[int(blow.pick * len(free))] if free else None

    def strike(self, blow: Blow, victim: Victim) -> None:
        """Send a blow's signal, or let its victim find its disk full."""
        signals = {
            blows.KILL: signal.SIGKILL,
            blows.DRAIN: signal.SIGTERM,
            blows.FREEZE: signal.SIGSTOP,
        }
        for process in victim.processes:
            with contextlib.suppress(psutil.Error, OSError):
                if blow.action == blows.FILL:
                    full_disk.fill(process)
                else:
                    process.send_signal(signals[blow.action])
                if blow.action in blows.LASTS:
                    timer = threading.Timer(blow.freeze_seconds, self._wake, (process,))
                    timer.daemon = True
                    self._frozen[process.pid] = (timer, process)
                    timer.start()

    def _wake(self, process: psutil.Process) -> None:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGCONT)
            full_disk.make_room(process)
        self._frozen.pop(process.pid, None)

    def wake_all(self) -> None:
        """Let everything that is frozen go on, and everything write that finds its disk full."""
        for timer, process in list(self._frozen.values()):
            timer.cancel()
            self._wake(process)

    def end_idle_orphans(self) -> int:
        """End the workers that a dead scheduler has left and that have nothing to do any more.

        They would wait for work for ever: systemd and Kubernetes end them together with the scheduler, the tasks they
        run included. Here they may finish what they do, which is the harder case.

        :return: how many there were.
        """
        scheduler = self._pid("scheduler")
        ended = 0
        for process in processes.marked(self._stack.layout.state_dir):
            with contextlib.suppress(psutil.Error):
                if _title(process) == f"{_WORKER_TITLE} {_IDLE}" and process.ppid() != scheduler:
                    process.kill()
                    ended += 1
        return ended

    def _pid(self, name: str) -> int | None:
        return next((record.pid for record in self._stack.records if record.name == name), None)

    def _components(self, target: str) -> list[Victim]:
        prefix = target if target in (blows.SCHEDULER, blows.STAND_IN) else "triggerer"
        found = []
        for record in self._stack.records:
            process = record.find()
            if not record.name.startswith(prefix) or process is None:
                continue
            with contextlib.suppress(psutil.Error):
                if time.time() - process.create_time() < _SETTLE_SECONDS[prefix]:
                    continue
                # It keeps the log of each trigger that it runs open. To strike one that has none would prove nothing.
                logs = [file.path for file in process.open_files() if ".log.trigger." in file.path]
                if prefix == "triggerer" and not logs:
                    continue
                if target == blows.TRIGGER_RUNNER:
                    found += [Victim(f"{record.name} runner", (child,)) for child in process.children()[:1]]
                else:
                    found.append(Victim(record.name, (process,)))
        return found

    def _workers(self, target: str, running: Collection[str]) -> list[Victim]:
        found = []
        for process in processes.marked(self._stack.layout.state_dir):
            with contextlib.suppress(psutil.Error):
                title = _title(process)
                if not title.startswith(_WORKER_TITLE) or title.rsplit(" ", 1)[1] not in running:
                    continue
                tasks = process.children()  # asked for once: it may end at any moment
                # The task is a fork of its worker and bears its title for a moment.
                if _title(process.parent()).startswith(_WORKER_TITLE) or not tasks:
                    continue
                task = tasks[0]
                struck = {blows.WORKER: (process,), blows.TASK: (task,), blows.NODE: (process, task)}[target]
                found.append(Victim(f"{target} of {title.rsplit(' ', 1)[1]}", struck))
        return sorted(found, key=lambda victim: victim.name)


def _title(process: psutil.Process | None) -> str:
    return " ".join(process.cmdline()).strip() if process else ""
