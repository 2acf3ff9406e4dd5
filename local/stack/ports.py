"""Whether the stack can listen where it is to."""

from __future__ import annotations

import socket

import psutil

from local.stack.errors import StackError
from local.stack.layout import HOST, Layout


def require_free_ports(layout: Layout) -> None:
    """Make sure that a stack can listen where it is to.

    :raises StackError: as :func:`require_free_port` does
    """
    require_free_port(layout.ui_port, "UI_PORT")
    require_free_port(layout.sagemaker_port, "SAGEMAKER_PORT")


def require_free_port(port: int, variable: str) -> None:
    """Make sure that a port can be listened on.

    :param variable: the variable of make that changes it
    :raises StackError: it is taken, out of range, or not allowed; says by whom where the system tells
    """
    if not 1 <= port <= 65535:
        raise StackError(f"{variable}={port} is not a port; allowed: 1 to 65535.")
    with socket.socket() as probe:
        # As the servers do, so that the remains of closed connections don't count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except PermissionError as error:
            raise StackError(f"Port {port} needs privileges; choose another: {variable}=<port>.") from error
        except OSError as error:
            raise StackError(
                f"Port {port} on {HOST} is taken{_listener(port)}. Stop that, or choose another port:"
                f" {variable}={port + 1}."
            ) from error


def _listener(port: int) -> str:
    """Name the process that listens on a port; empty where the system does not tell."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status != psutil.CONN_LISTEN or not connection.laddr:
                continue
            if connection.laddr.port == port and connection.pid:
                name = " ".join(psutil.Process(connection.pid).cmdline()[:4]) or "a process"
                return f" by {name[:80]} (process {connection.pid})"
    except (psutil.Error, OSError):
        pass
    return ""
