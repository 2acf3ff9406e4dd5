"""A PostgreSQL server of a stack's own: found on this machine, laid down in the stack's folder, reached by password.

It listens on loopback alone, has no socket in a folder, and its superuser has no password, so that nobody can log in
as one. PostgreSQL refuses to run as root: for root it runs as the user `postgres`, which the system's package makes.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from local.stack import environment
from local.stack.engine_settings import DATABASE_NAME, DATABASE_USER
from local.stack.errors import StackError
from local.stack.layout import HOST, Layout
from local.stack.secrets_file import stack_secrets

HOW_TO_INSTALL = (
    "On Debian or Ubuntu: apt-get install --no-install-recommends postgresql;"
    " on macOS: brew install postgresql."
)
UNPRIVILEGED_USER = "postgres"
INITDB_TIMEOUT_SECONDS = 180.0
# Where packages put the programs of each version; Debian has them on no PATH.
_PLACES = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
)
_PROGRAMS = ("initdb", "postgres", "pg_dump", "psql")


def folders() -> dict[int, Path]:
    """Return the folders that hold a whole PostgreSQL, by major version."""
    places = [Path(path) for pattern in _PLACES for path in Path("/").glob(pattern.lstrip("/"))]
    on_path = shutil.which("postgres")
    if on_path is not None:
        places.append(Path(on_path).resolve().parent)
    found: dict[int, Path] = {}
    for place in places:
        if all(os.access(place / program, os.X_OK) for program in _PROGRAMS):
            found.setdefault(major(place), place)
    return found


def programs(layout: Layout) -> Path:
    """Return the folder of the programs that fit a stack: of the version that its data are of, else the newest.

    :raises StackError: there is none; with what to install
    """
    found = folders()
    made_by = layout.postgres_data / "PG_VERSION"
    if made_by.exists():
        version = int(made_by.read_text())
        if version not in found:
            have = ", ".join(map(str, sorted(found))) or "none"
            raise StackError(
                f"{layout.postgres_data} was made by PostgreSQL {version}; installed here: {have}. Install"
                f" postgresql-{version}, or forget the stack's data: `make up DB=postgres FRESH=1`."
            )
        return found[version]
    require()
    return found[max(found)]


def require() -> None:
    """Make sure that a stack can have a PostgreSQL here.

    :raises StackError: none is installed, or this user can't run it
    """
    if not folders():
        raise StackError(f"DB=postgres needs PostgreSQL, which is not installed here. {HOW_TO_INSTALL}")
    server_user()


def server_user() -> str | None:
    """Return the user that the server is to run as; None for the one that runs this process.

    :raises StackError: this is root, and there is no other to run it as
    """
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(UNPRIVILEGED_USER)
    except KeyError:
        raise StackError(
            f"PostgreSQL refuses to run as root, and there is no user {UNPRIVILEGED_USER!r} to run it as. Run make as"
            f" another user than root, or make that one: useradd --system {UNPRIVILEGED_USER}"
        ) from None
    return UNPRIVILEGED_USER


@contextlib.contextmanager
def data_folder(layout: Layout) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Give the path by which the server finds its data, and the open files that it has to inherit for it.

    The folders above are ours alone, and for root's stack the server is another user, who can't come in by them. It may
    use a folder that is open already.
    """
    if server_user() is None:
        yield str(layout.postgres_data), ()
        return
    opened = os.open(layout.postgres_data, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{opened}", (opened,)
    finally:
        os.close(opened)


def command(layout: Layout, data: str) -> list[str]:
    """Return the server's command line.

    :param data: as :func:`data_folder` gives it
    """
    settings = {
        "listen_addresses": HOST,
        "port": str(layout.database_port),
        "unix_socket_directories": "",
    }
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return [str(programs(layout) / "postgres"), "-D", data, *options]


def initialise(layout: Layout) -> None:
    """Make the data directory, Airflow's user and its database, unless they are there.

    :raises StackError: it failed; with what PostgreSQL said
    """
    bin_dir, user = programs(layout), server_user()
    data = layout.postgres_data
    if (data / "PG_VERSION").exists():
        return
    # One that was not finished is begun afresh.
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True, mode=0o700)
    if user is not None:
        shutil.chown(data, user, pwd.getpwnam(user).pw_gid)
    try:
        with data_folder(layout) as (path, inherited):
            _run(
                layout,
                [
                    *(str(bin_dir / "initdb"), "-D", path, "--encoding=UTF8", "--locale=C"),
                    *("--username=postgres", "--auth-local=reject", "--auth-host=scram-sha-256"),
                ],
                inherited,
            )
            password = stack_secrets(layout)["database_password"]
            _run(
                layout,
                [str(bin_dir / "postgres"), "--single", "-D", path, "postgres"],
                inherited,
                f"CREATE ROLE {DATABASE_USER} LOGIN PASSWORD '{password}'\n"
                f"CREATE DATABASE {DATABASE_NAME} OWNER {DATABASE_USER}\n",
            )
    except BaseException:
        shutil.rmtree(data, ignore_errors=True)
        raise


def _run(layout: Layout, arguments: list[str], inherited: tuple[int, ...], said: str = "") -> None:
    try:
        done = subprocess.run(
            arguments,
            cwd="/",
            pass_fds=inherited,
            env=environment.bare_environment(layout) | {"LC_ALL": "C"},
            input=said,
            capture_output=True,
            text=True,
            check=False,
            timeout=INITDB_TIMEOUT_SECONDS,
            **identity(server_user()),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StackError(f"{arguments[0]} did not end well: {error}") from error
    if done.returncode != 0 or re.search(r"\b(ERROR|FATAL|PANIC):", done.stderr):
        raise StackError(
            f"{arguments[0]} failed ({done.returncode}):\n{(done.stderr or done.stdout)[-3000:]}"
        )


def identity(user: str | None) -> dict[str, Any]:
    """Return the arguments of subprocess that make a process another user's, of no further group."""
    if user is None:
        return {}
    known = pwd.getpwnam(user)
    return {"user": known.pw_uid, "group": known.pw_gid, "extra_groups": []}


def major(place: Path) -> int:
    """Return the major version of the programs in a folder; 0 where they don't say."""
    said = subprocess.run([place / "postgres", "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"(\d+)", said.stdout)
    return int(found[1]) if found else 0
