"""Create the Python environments from nothing but git, make and Python 3.11 to 3.13.

`.venv` holds Airflow, the checks and the tests (requirements/dev.lock); `.venv-image` stands for the managed
XGBoost image and holds its versions (requirements/image.lock); `.venv-import` reads models that were trained
elsewhere (requirements/import.lock); `.venv-notebook`, only where it is asked for, has the image's versions and what
notebooks need beside them (requirements/notebook.lock). They are made by uv, which is itself brought in when it is
missing (requirements/uv.lock). All of it has hashes: a file that has another one is refused. A stamp in
each environment remembers what it was made from, so that a second call does nothing.

This file is started by whatever `python3` is, so it uses the standard library only and no syntax newer than
Python 3.6 (annotations are quoted), to get as far as saying which Python is needed.
"""

import argparse
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
UV_LOCK = "requirements/uv.lock"
UV_OLDEST = (0, 5, 0)
PYTHON_OLDEST = (3, 11)
PYTHON_NEWEST = (3, 13)
PYTHON_RANGE = "Python 3.11, 3.12 or 3.13"
CANDIDATES = ("python3", "python3.13", "python3.12", "python3.11")

# Name of the environment's folder -> file with what goes into it.
ENVIRONMENTS = {
    ".venv": "requirements/dev.lock",
    ".venv-image": "requirements/image.lock",
    ".venv-import": "requirements/import.lock",
}
# Made when it is asked for: notebooks are not everybody's.
NOTEBOOK = ".venv-notebook"
LOCKS = {**ENVIRONMENTS, NOTEBOOK: "requirements/notebook.lock"}
# Their locks name every package, so sync also removes what left them. That of notebooks leaves out what a package of
# its own asks for and does not need (requirements/notebook-overrides.txt), which `install` would look for.
SYNCED = (".venv", NOTEBOOK)
STAMP = ".city-fleet-stamp"


class BootstrapError(Exception):
    """What is missing on this machine, said in a way that tells what to do."""


def say(text: "str") -> "None":
    """Print one line of progress on stderr, so that stdout stays free for answers."""
    sys.stderr.write("bootstrap: " + text + "\n")
    sys.stderr.flush()


def python_version(command: "str") -> "tuple[int, int, int] | None":
    """Ask an interpreter for its version.

    :param command: a name on PATH or a path
    :return: (major, minor, micro), or None where there is no such command or it doesn't run
    """
    path = shutil.which(command)
    if path is None:
        return None
    try:
        done = subprocess.run(
            [path, "-c", "import sys; print('%d %d %d' % sys.version_info[:3])"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    parts = done.stdout.decode("ascii", "replace").split()
    if done.returncode != 0 or len(parts) != 3 or not all(part.isdigit() for part in parts):
        return None
    return int(parts[0]), int(parts[1]), int(parts[2])


def suits(version: "tuple[int, int, int]") -> "bool":
    """Tell whether the project runs on this version."""
    return PYTHON_OLDEST <= version[:2] <= PYTHON_NEWEST


def present_python(wish: "str") -> "tuple[str, tuple[int, int, int]] | None":
    """Return the interpreter that .venv was made with, unless another one is wished for or it doesn't suit."""
    inside = str(ROOT / ".venv" / "bin" / "python")
    version = None if wish else python_version(inside)
    return (resolve_interpreter(inside), version) if version is not None and suits(version) else None


def find_python(wish: "str") -> "tuple[str, tuple[int, int, int]]":
    """Choose the interpreter for all environments.

    :param wish: what the person asked for with PYTHON=, or ""
    :return: its real path and version
    :raises BootstrapError: none suits; the message lists what was found
    """
    found = []
    for name in (wish,) if wish else CANDIDATES:
        version = python_version(name)
        if version is None:
            continue
        path = shutil.which(name)
        if path is not None and suits(version):
            return resolve_interpreter(path), version
        found.append("{} is {}".format(name, ".".join(map(str, version))))
    if wish:
        got = found[0] if found else "there is no such command"
        raise BootstrapError(
            f"PYTHON={wish}: {got}. City Fleet needs {PYTHON_RANGE}: name such a one, or leave PYTHON out."
        )
    raise BootstrapError(
        f"City Fleet needs {PYTHON_RANGE}. Looked for {', '.join(CANDIDATES)};"
        f" found: {'; '.join(found) or 'none'}. Install one (on Debian or Ubuntu: apt-get install python3),"
        " or name it: make PYTHON=/path/to/python3.12"
    )


def resolve_interpreter(path: "str") -> "str":
    """Return the interpreter itself, where `path` is a shim (pyenv) or a virtual environment's."""
    code = "import sys; print(getattr(sys, '_base_executable', None) or sys.executable)"
    done = subprocess.run([path, "-c", code], stdout=subprocess.PIPE, check=False)
    real = done.stdout.decode(sys.getfilesystemencoding() or "utf-8", "replace").strip()
    return real if done.returncode == 0 and os.path.exists(real) else path


def run(command: "list[str]", what: "str", remedy: "str", quiet: "bool" = False) -> "None":
    """Run a command whose output the person sees; a failure ends in one sentence.

    :raises BootstrapError: it failed or could not start
    """
    try:
        code = subprocess.call(
            command,
            stdout=subprocess.DEVNULL if quiet else sys.stderr.fileno(),
            env=quiet_environment(),
        )
    except OSError as error:
        raise BootstrapError(f"{what} failed: {error}. {remedy}") from error
    if code != 0:
        raise BootstrapError(f"{what} failed ({command[0]} ended with {code}). {remedy}")


def quiet_environment() -> "dict[str, str]":
    """The person's own settings (proxies, mirrors), less what would let uv or pip work somewhere else."""
    unwanted = ("VIRTUAL_ENV", "PYTHONPATH")
    environment = {key: value for key, value in os.environ.items() if key not in unwanted}
    environment["UV_PYTHON_DOWNLOADS"] = "never"
    environment["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    environment["PIP_ROOT_USER_ACTION"] = "ignore"
    # A person's own pip may ask for a virtual environment or for the user folder; neither goes with --target.
    environment["PIP_REQUIRE_VIRTUALENV"] = "0"
    environment["PIP_USER"] = "0"
    return environment


NETWORK_REMEDY = (
    "If the lines above speak of a connection, a name or a time-out, this machine does not reach the Python"
    " package index: check the network and the proxy (HTTPS_PROXY), or name your mirror (UV_DEFAULT_INDEX,"
    " PIP_INDEX_URL). If they speak of a hash, the file that came is not the one that was locked: do not go on, and"
    " look at the index or mirror that it came from. Then run the same command again; what was fetched already is"
    " kept."
)


def uv_version(path: "str") -> "tuple[int, ...] | None":
    """Ask uv for its version; None where it doesn't run."""
    try:
        done = subprocess.run(
            [path, "--version"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
        )
        words = done.stdout.decode("ascii", "replace").split()
        return tuple(int(part) for part in words[1].split("+")[0].split("-")[0].split("."))
    except (OSError, IndexError, ValueError):
        return None


def find_uv(python: "str") -> "str":
    """Return a uv that works: the one on PATH, the one fetched earlier, or a new one in `.tools`.

    :param python: an interpreter that suits the project
    :raises BootstrapError: it can't be had; the message says what to install
    """
    on_path = shutil.which("uv")
    if on_path is not None and (uv_version(on_path) or (0,)) >= UV_OLDEST:
        return on_path
    tools = ROOT / ".tools" / "uv"
    binary = tools / "bin" / "uv"
    if uv_version(str(binary)):
        return str(binary)
    shutil.rmtree(str(tools), ignore_errors=True)
    tools.parent.mkdir(parents=True, exist_ok=True)
    install = ["-m", "pip", "install", "--quiet", "--require-hashes", "--no-deps", "--target", str(tools)]
    install += ["-r", str(ROOT / UV_LOCK)]
    say("fetching uv into .tools/uv (" + UV_LOCK + ")")
    if has_module(python, "pip"):
        # --target is allowed where the distribution guards its own Python against pip (PEP 668).
        run([python, *install], "Fetching uv", NETWORK_REMEDY)
    elif has_module(python, "ensurepip"):
        helper = ROOT / ".tools" / "pip"
        run([python, "-m", "venv", "--clear", str(helper)], "Making an environment to fetch uv with", "")
        run([str(helper / "bin" / "python"), *install], "Fetching uv", NETWORK_REMEDY)
        shutil.rmtree(str(helper), ignore_errors=True)
    else:
        raise BootstrapError(
            f"{python} has neither pip nor ensurepip, and uv is not on PATH, so no package can be fetched."
            " On Debian or Ubuntu `apt-get install python3-pip`, elsewhere put uv on PATH; then run the same"
            " command again."
        )
    if not uv_version(str(binary)):
        raise BootstrapError(f"uv was installed into {tools} but does not run on this machine.")
    return str(binary)


def has_module(python: "str", name: "str") -> "bool":
    """Tell whether an interpreter has a module."""
    return (
        subprocess.call(
            [python, "-c", "import " + name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        == 0
    )


def wanted_stamp(requirements: "pathlib.Path", python: "str", version: "tuple[int, int, int]") -> "str":
    """What an environment is made from: the Python, its minor version, and the bytes of its requirements."""
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    python = os.path.realpath(python)
    return f"{python} {version[0]}.{version[1]} {requirements.name} {digest}\n"


def same_python(inside: "str", python: "str") -> "bool":
    """Tell whether an environment's interpreter is this one."""
    return os.path.realpath(resolve_interpreter(inside)) == os.path.realpath(python)


def is_current(folder: "pathlib.Path", stamp: "str") -> "bool":
    """Tell whether an environment is complete, of the wanted Python, and still runs."""
    try:
        same = (folder / STAMP).read_text() == stamp
    except OSError:
        return False
    # The link may dangle after an upgrade of the machine's Python.
    return same and (folder / "bin" / "python").exists()


def make_environment(name: "str", python: "str", version: "tuple[int, int, int]") -> "bool":
    """Bring one environment up to date.

    :param name: a key of LOCKS
    :return: True where something was done
    :raises BootstrapError: with what to do about it
    """
    folder = ROOT / name
    requirements = ROOT / LOCKS[name]
    if not requirements.exists():
        raise BootstrapError(f"{LOCKS[name]} is missing from this checkout.")
    stamp = wanted_stamp(requirements, python, version)
    if is_current(folder, stamp):
        return False
    uv = find_uv(python)
    say("{}: Python {} and {}".format(name, ".".join(map(str, version)), LOCKS[name]))
    inside = folder / "bin" / "python"
    present = python_version(str(inside)) if inside.exists() else None
    if (folder / STAMP).exists():
        (folder / STAMP).unlink()
    if present is None or present[:2] != version[:2] or not same_python(str(inside), python):
        shutil.rmtree(str(folder), ignore_errors=True)
        run([uv, "venv", "--quiet", "--no-project", "--python", python, str(folder)], "Making " + name, "")
    # uv's list of 220 packages says nothing useful; a terminal gets its progress bars with it.
    quiet = [] if sys.stderr.isatty() else ["--quiet"]
    if name in SYNCED:
        command = [uv, "pip", "sync", *quiet, "--require-hashes", "--python", str(inside), str(requirements)]
    else:
        command = [uv, "pip", "install", *quiet, "--require-hashes", "--python", str(inside)]
        command += ["-r", str(requirements)]
    run(command, "Installing the packages of " + name, NETWORK_REMEDY)
    (folder / STAMP).write_text(stamp)
    return True


def locked() -> "object":
    """Keep two makes from building one environment side by side; the lock ends with the process."""
    import fcntl  # noqa: PLC0415 - not there on Windows, where the version error should still be readable

    (ROOT / ".tools").mkdir(exist_ok=True)
    handle = open(str(ROOT / ".tools" / "bootstrap.lock"), "w")  # noqa: SIM115
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        say("another command is making the environments; waiting for it")
        fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def main(arguments: "list[str]") -> "int":
    """Make what is asked for; print one sentence and return 1 where it can't be done."""
    parser = argparse.ArgumentParser(description="Create .venv, .venv-image and .venv-import.")
    parser.add_argument("--python", default="", help="interpreter to use, instead of the first that suits")
    parser.add_argument("--print-uv", action="store_true", help="print the path of a working uv and stop")
    parser.add_argument("--notebook", action="store_true", help="create .venv-notebook too")
    options = parser.parse_args(arguments)
    try:
        python, version = present_python(options.python) or find_python(options.python)
        if options.print_uv:
            print(find_uv(python))
            return 0
        handle = locked()
        for name in (*ENVIRONMENTS, *([NOTEBOOK] if options.notebook else [])):
            make_environment(name, python, version)
        del handle
    except BootstrapError as error:
        sys.stderr.write("bootstrap: " + str(error) + "\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("bootstrap: stopped; run the same command again to go on.\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
