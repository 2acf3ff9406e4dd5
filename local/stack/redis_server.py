"""A Redis server of a stack's own: Celery's broker, on loopback, behind a password.

What is queued is kept on disk as it comes, so that `make down` loses no task that waits for a worker.
"""

from __future__ import annotations

import shutil
import socket

from local.stack.errors import StackError
from local.stack.layout import HOST, Layout
from local.stack.secrets_file import stack_secrets, write_private

HOW_TO_INSTALL = (
    "On Debian or Ubuntu: apt-get install --no-install-recommends redis-server; on macOS: brew install redis."
)
# Valkey is the same server under its free licence; newer systems have it instead.
_PROGRAMS = ("redis-server", "valkey-server")


def program() -> str:
    """Return the path of the server.

    :raises StackError: there is none; with what to install
    """
    for name in _PROGRAMS:
        path = shutil.which(name) or shutil.which(name, path="/usr/bin:/usr/local/bin:/opt/homebrew/bin")
        if path is not None:
            return path
    raise StackError(f"EXECUTOR=celery needs Redis, which is not installed here. {HOW_TO_INSTALL}")


def write_settings(layout: Layout) -> None:
    """Write the server's settings: a file, since a command line is seen by everybody on this machine."""
    layout.redis_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    settings = {
        "bind": HOST,
        "port": str(layout.broker_port),
        "requirepass": stack_secrets(layout)["broker_password"],
        "protected-mode": "yes",
        "daemonize": "no",
        "dir": f'"{layout.redis_dir}"',
        "appendonly": "yes",
        "save": '""',
        # A queue that is full is told; nothing that waits is thrown away.
        "maxmemory-policy": "noeviction",
    }
    text = "".join(f"{name} {value}\n" for name, value in settings.items())
    write_private(layout.redis_dir / "redis.conf", text)


def command(layout: Layout) -> list[str]:
    """Return the server's command line."""
    return [program(), str(layout.redis_dir / "redis.conf")]


def answers(layout: Layout) -> bool:
    """Tell whether the server takes the password and answers."""
    password = stack_secrets(layout)["broker_password"]
    try:
        with socket.create_connection((HOST, layout.broker_port), timeout=2) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            said = b""
            while said.count(b"\r\n") < 2:
                part = connection.recv(1024)
                if not part:
                    return False
                said += part
    except OSError:
        return False
    return said == b"+OK\r\n+PONG\r\n"
