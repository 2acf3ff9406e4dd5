"""The stack's own PostgreSQL and Redis: real servers, behind their passwords, without root, kept over a stop."""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
from rich.console import Console

from local.stack import commands, database, engine_settings, postgres, processes, programs, redis_server
from local.stack.engine import CELERY, POSTGRES, Engine
from local.stack.errors import StackError
from local.stack.layout import HOST, Layout, free_port
from local.stack.processes import Recorded
from local.stack.secrets_file import stack_secrets
from tests.support.waiting import wait_until

needs_postgres = pytest.mark.skipif(not postgres.folders(), reason=postgres.HOW_TO_INSTALL)
needs_redis = pytest.mark.skipif(
    not (shutil.which("redis-server") or shutil.which("valkey-server")), reason=redis_server.HOW_TO_INSTALL
)


@pytest.fixture
def layout(state_dir: Path) -> Layout:
    # As a stack's folder is: nobody else comes in, PostgreSQL's own user included.
    state_dir.chmod(0o700)
    return Layout(state_dir, ui_port=free_port(), sagemaker_port=free_port(), engine=Engine(POSTGRES, CELERY))


@contextmanager
def running(layout: Layout, name: str) -> Iterator[Recorded]:
    with programs.program(name, layout) as program:
        record = processes.spawn(
            name,
            program.command,
            program.variables,
            layout.logs_dir / f"{name}.log",
            program.folder,
            options={**postgres.identity(program.user), "pass_fds": program.inherited},
            stop_signal=program.stop_signal,
        )
    try:
        yield record
    finally:
        assert processes.end([record], layout.state_dir) == [], "it had to be killed"


def only_on_loopback(record: Recorded, password: str) -> None:
    """Look at a server's processes from outside."""
    process = record.find()
    assert process is not None
    listening = [each for each in process.net_connections() if each.status == psutil.CONN_LISTEN]
    assert {each.laddr.ip for each in listening} == {HOST}
    for each in processes.family([process]).values():
        assert password not in " ".join(each.cmdline())


@needs_postgres
def test_postgres_lets_airflows_user_in_and_nobody_else(layout: Layout) -> None:
    postgres.initialise(layout)
    url = engine_settings.database_url(layout, stack_secrets(layout))
    with running(layout, programs.POSTGRES) as record:
        database._wait_for_postgres(layout)
        only_on_loopback(record, stack_secrets(layout)["database_password"])
        process = record.find()
        assert process is not None
        assert process.uids().effective != 0
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept (number int)")
            said = connection.execute(
                "SELECT rolsuper, rolcreaterole FROM pg_roles WHERE rolname = 'airflow'"
            )
            assert said.fetchone() == (False, False)
        for user in ("airflow", "postgres"):
            with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                psycopg.connect(f"postgresql://{user}:guessed@{HOST}:{layout.database_port}/airflow")
    assert "database system is shut down" in processes.tail(record.log)
    # What was there is there again; nothing is laid down a second time.
    postgres.initialise(layout)
    with running(layout, programs.POSTGRES):
        database._wait_for_postgres(layout)
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)


@needs_postgres
def test_a_start_that_failed_leaves_nothing_half_made(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "DATABASE_NAME", "no such; syntax")
    with pytest.raises(StackError, match="syntax error"):
        postgres.initialise(layout)
    assert not layout.postgres_data.exists()
    monkeypatch.undo()
    postgres.initialise(layout)
    assert (layout.postgres_data / "PG_VERSION").exists()


@needs_postgres
def test_the_data_of_another_version_are_left_alone(layout: Layout) -> None:
    layout.postgres_data.mkdir(parents=True)
    (layout.postgres_data / "PG_VERSION").write_text("9\n")
    with pytest.raises(StackError, match=r"made by PostgreSQL 9; installed here: .*postgresql-9.*FRESH=1"):
        postgres.initialise(layout)
    assert (layout.postgres_data / "PG_VERSION").exists()


@needs_redis
def test_redis_asks_for_the_password_and_keeps_what_is_queued(layout: Layout) -> None:
    redis_server.write_settings(layout)
    password = stack_secrets(layout)["broker_password"]
    with running(layout, programs.REDIS) as record:
        wait_until(lambda: redis_server.answers(layout), 20, "Redis answers")
        only_on_loopback(record, password)
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(HOST, layout.broker_port).ping()
        redis.Redis(HOST, layout.broker_port, password=password).lpush("default", "waits")
    assert not redis_server.answers(layout)
    with running(layout, programs.REDIS):
        wait_until(lambda: redis_server.answers(layout), 20, "Redis answers again")
        assert redis.Redis(HOST, layout.broker_port, password=password).lrange("default", 0, -1) == [b"waits"]


def test_what_is_not_installed_is_named_with_what_to_install(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(postgres, "_PLACES", ())
    monkeypatch.setattr(redis_server, "_PROGRAMS", ("no-redis",))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackError, match=r"DB=postgres needs PostgreSQL.*apt-get install"):
        postgres.initialise(layout)
    with pytest.raises(StackError, match=r"EXECUTOR=celery needs Redis.*apt-get install"):
        redis_server.command(layout)
    # Nothing is deleted for a start that can't be.
    kept = layout.sagemaker_data / "store.sqlite3"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"kept")
    with pytest.raises(StackError, match="needs PostgreSQL"):
        commands.up(
            Console(quiet=True),
            *(layout.state_dir, layout.ui_port, layout.sagemaker_port, ""),
            engine=layout.engine,
            fresh=True,
        )
    assert kept.read_bytes() == b"kept"


def test_root_without_another_user_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(name: str) -> None:
        raise KeyError(name)

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwnam", nobody)
    with pytest.raises(StackError, match=r"refuses to run as root.*useradd --system postgres"):
        postgres.server_user()


def test_what_carries_the_mark_and_is_spared_goes_on(state_dir: Path) -> None:
    from tests.service.local_stack.test_processes import _spawn

    first, second = (_spawn(state_dir, "import time; time.sleep(600)") for _ in range(2))
    assert processes.end([first], state_dir, spare=[second]) == []
    assert first.find() is None
    assert second.find() is not None
    processes.end([second], state_dir)
