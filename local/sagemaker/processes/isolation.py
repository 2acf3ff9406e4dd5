"""Hides folders, except for one folder below them, from a process with namespaces of its own (Linux: user and mount).

The kept folder's ``opt/ml`` may become ``/opt/ml`` itself there. The supervisor's part, standard library only. A
process in a user namespace of its own can't look into the memory or, by way of ``/proc``, at the files of processes
in another one either, though the user is the same. Ids keep their meaning inside. What this does not do: other
folders of the machine, the network and the list of processes stay visible; that takes containers.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
from collections.abc import Sequence

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_SLAVE = 1, 2, 4, 32, 4096, 16384, 1 << 19
PR_CAPBSET_DROP, CAP_SYS_ADMIN, CAPABILITY_VERSION = 24, 21, 0x20080522


OPT, OPT_ML = "/opt", "/opt/ml"


def enter(parent: socket.socket, hide: Sequence[str], keep: str, opt_ml: bool) -> bool:
    """In the forked, single-threaded child: go into new namespaces and hide the folders there.

    :param parent: to the process that calls :func:`let_in`.
    :param hide: absolute paths of the folders; one that is missing is left out.
    :param keep: absolute path of the folder that stays, also below one of them.
    :param opt_ml: whether its ``opt/ml`` becomes ``/opt/ml``; a working directory in there moves with it.
    :return: whether that worked; if not, the process must not be used.
    """
    try:
        folder = os.getcwd()
        call("unshare", CLONE_NEWUSER | CLONE_NEWNS)
        parent.sendall(b"?")
        if parent.recv(1) != b"!":
            return False
        call("mount", None, b"/", None, MS_REC | MS_SLAVE, None)
        kept = os.open(keep, os.O_PATH)
        for each in outermost(hide):
            cover(each, kept, keep)
        os.close(kept)
        if opt_ml:
            mount_opt_ml(keep + OPT_ML)
            if f"{folder}/".startswith(f"{keep}{OPT_ML}/"):
                folder = folder.removeprefix(keep)
        stay_inside()
        os.chdir(folder)  # by its path: the old one is of the mount that was covered
        parent.sendall(b"+")
    except OSError:
        return False
    return True


def outermost(folders: Sequence[str]) -> list[str]:
    """The folders that are there, without those that lie in another one of them: they are hidden with it.

    :param folders: absolute paths.
    """
    found: list[str] = []
    for folder in sorted(os.path.realpath(each) for each in folders if os.path.isdir(each)):
        if not any(folder == other or folder.startswith(other.rstrip("/") + "/") for other in found):
            found.append(folder)
    return found


def cover(hide: str, kept: int, keep: str) -> None:
    """Put an empty folder that can't be written to over one, with the kept folder in it if that is its place.

    :param hide: absolute path of the folder.
    :param kept: descriptor of the folder that stays.
    :param keep: its absolute path.
    """
    flags = MS_NOSUID | MS_NODEV
    call("mount", b"tmpfs", hide.encode(), b"tmpfs", flags, b"mode=0755,size=64k")
    if keep.startswith(hide.rstrip("/") + "/"):
        os.makedirs(keep, 0o755)
        call("mount", f"/proc/self/fd/{kept}".encode(), keep.encode(), None, MS_BIND, None)
    call("mount", None, hide.encode(), None, flags | MS_REMOUNT | MS_BIND | MS_RDONLY, None)


def mount_opt_ml(folder: str) -> None:
    """Put a folder in the place of ``/opt/ml``, beside whatever else is in ``/opt`` of this machine.

    A user may make no folder in ``/opt``, and root must not leave one there: an empty file system covers it, and what
    it holds is bound to its old place.

    :param folder: absolute path.
    :raises OSError: there is no ``/opt``, or it may not be covered.
    """
    found = {each: os.open(f"{OPT}/{each}", os.O_PATH | os.O_NOFOLLOW) for each in os.listdir(OPT)}
    links = {each: os.readlink(f"{OPT}/{each}") for each in found if os.path.islink(f"{OPT}/{each}")}
    folders = {each for each in found if os.path.isdir(f"{OPT}/{each}")}
    place = os.open(folder, os.O_PATH)
    flags = MS_NOSUID | MS_NODEV
    call("mount", b"tmpfs", OPT.encode(), b"tmpfs", flags, b"mode=0755,size=64k")
    for name, descriptor in {**found, "ml": place}.items():
        target = f"{OPT}/{name}"
        if name in links and name != "ml":
            os.symlink(links[name], target)
            continue
        if name in folders or name == "ml":
            os.mkdir(target, 0o755)
        else:
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
        source = f"/proc/self/fd/{descriptor}"
        call("mount", source.encode(), os.fsencode(target), None, MS_BIND | MS_REC, None)
    for descriptor in (*found.values(), place):
        os.close(descriptor)
    call("mount", None, OPT.encode(), None, flags | MS_REMOUNT | MS_BIND | MS_RDONLY, None)


def stay_inside() -> None:
    """Give up the capability to undo the mounts, for this process and whatever it executes."""
    call("prctl", PR_CAPBSET_DROP, CAP_SYS_ADMIN, 0, 0, 0)
    header = struct.pack("Ii", CAPABILITY_VERSION, 0)
    sets = ctypes.create_string_buffer(24)  # effective, permitted, inheritable: twice 32 bits each
    call("capget", header, sets)
    values = list(struct.unpack("6I", sets.raw))
    values[:3] = [value & ~(1 << CAP_SYS_ADMIN) for value in values[:3]]
    call("capset", header, struct.pack("6I", *values))


def let_in(child: socket.socket, pid: int) -> bool:
    """In the parent: give the child's new namespace its ids.

    :param child: to the child in :func:`enter`.
    :param pid: its process id.
    :return: whether the child has hidden the folders.
    """
    if child.recv(1) != b"?":
        return False
    with contextlib.suppress(OSError):
        write_ids(pid)
        child.sendall(b"!")
    child.shutdown(socket.SHUT_WR)
    return child.recv(1) == b"+"


def write_ids(pid: int) -> None:
    """Map ids to themselves: for root all that there are here (few in a container without root), else the user's own.

    :param pid: process in a new user namespace.
    """
    if os.geteuid() == 0:
        maps = {name: known_ids(name) for name in ("uid_map", "gid_map")}
    else:
        maps = {
            "setgroups": "deny",
            "uid_map": f"{os.geteuid()} {os.geteuid()} 1",
            "gid_map": f"{os.getegid()} {os.getegid()} 1",
        }
    for name, content in maps.items():
        with open(f"/proc/{pid}/{name}", "w", encoding="ascii") as file:
            file.write(content)


def known_ids(name: str) -> str:
    """The ids that this process's own namespace has, each mapped to itself.

    :param name: ``uid_map`` or ``gid_map``.
    """
    with open(f"/proc/self/{name}", encoding="ascii") as file:
        ranges = [line.split() for line in file]
    return "".join(f"{first} {first} {count}\n" for first, _, count in ranges)


def call(function: str, *arguments: object) -> None:
    """Call the C library.

    :param function: name of the C function.
    :param arguments: bytes, numbers or None.
    :raises OSError: when it fails.
    """
    if getattr(ctypes.CDLL(None, use_errno=True), function)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")
