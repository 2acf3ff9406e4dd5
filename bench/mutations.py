"""Does ``make quick`` notice when the code is wrong? ``make mutations N=60 SEED=1`` prints JSON.

Small changes are drawn from a seed: a comparison flipped, a number one more or less, ``and`` for ``or``, a ``not``
left out, another constant returned. Each is made alone, in a copy of the repository in a temporary folder; then those
tests of tests/quick run that come through its line (all of them, where it is executed on import). A change that no test
notices is listed with its place: either nothing holds the code to it, or it makes no difference.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
LIBRARY = "plugins/city_fleet"
TARGETS = f"{LIBRARY}/champions/gate.py,{LIBRARY}/naming.py,{LIBRARY}/plan.py,{LIBRARY}/config"
TESTS = "tests/quick/city_fleet"
CPU_SECONDS = 120  # of one change's tests; one that never ends is noticed
#: What every run would import anew, and no change touches.
SHARED = (
    "pytest",
    "hypothesis",
    "pydantic",
    "yaml",
    "croniter",
    "jsonschema",
    "typer",
    "boto3",
    "botocore.loaders",
)
FLIPPED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}


@dataclass(frozen=True)
class Change:
    """One small change of one file.

    :param start: byte offset of what is replaced.
    :param covers: the lines of the statement or expression.
    """

    path: str
    line: int
    start: int
    end: int
    covers: frozenset[int]
    text: str
    original: str

    def apply(self, source: bytes) -> bytes:
        return source[: self.start] + self.text.encode() + source[self.end :]


def changes(path: str, source: bytes) -> list[Change]:
    """Return every change that can be made of a file."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = []
    for node in ast.walk(ast.parse(source)):
        for target, text in _alternatives(node):
            assert target.end_lineno is not None
            assert target.end_col_offset is not None
            start = starts[target.lineno - 1] + target.col_offset
            end = starts[target.end_lineno - 1] + target.end_col_offset
            lines = frozenset(range(target.lineno, target.end_lineno + 1))
            found.append(Change(path, target.lineno, start, end, lines, text, source[start:end].decode()))
    return found


def _alternatives(node: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    """What else could stand there, as code."""
    if isinstance(node, ast.Compare):
        for index, operator in enumerate(node.ops):
            for other in FLIPPED[type(operator)]:
                ops = [*node.ops[:index], other(), *node.ops[index + 1 :]]
                yield node, f"({ast.unparse(ast.Compare(node.left, ops, node.comparators))})"
    elif isinstance(node, ast.BoolOp):
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield node, f"({ast.unparse(ast.BoolOp(other, node.values))})"
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node, f"({ast.unparse(node.operand)})"
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield node, f"({node.value + 1!r})"
        yield node, f"({node.value - 1!r})"
    elif isinstance(node, ast.Return) and isinstance(node.value, ast.Constant):
        value = node.value.value
        if isinstance(value, bool):
            yield node.value, repr(not value)
        elif isinstance(value, str):
            yield node.value, repr(f"not {value}")
        elif value is None:
            yield node.value, "0"


def copy_of_the_tree(folder: Path) -> Path:
    """Copy what the tests need, without what is made from it."""
    ignored = shutil.ignore_patterns(".*", "__pycache__", "dist", "_build")
    return Path(shutil.copytree(REPOSITORY, folder / "tree", ignore=ignored))


def in_a_child(work: Callable[[], Any]) -> Any:
    """Do something in a fork of this process, which has imported none of the repository's own code.

    :return: its result; None when it took too long or died.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException), os.fdopen(write, "w") as pipe:
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, 1)
            os.dup2(nothing, 2)
            json.dump(work(), pipe)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return json.loads(text) if text else None


class Selection:
    """A pytest plugin that keeps some tests, in their order."""

    def __init__(self, tests: list[str]) -> None:
        self.place = {test: number for number, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = sorted(
            (item for item in items if item.nodeid in self.place), key=lambda item: self.place[item.nodeid]
        )


def run_tests(paths: Iterable[str], plugin: object) -> int:
    """Run tests in this process; return pytest's exit code."""
    import pytest  # noqa: PLC0415

    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--hypothesis-seed=0"]
    return int(pytest.main([*options, *paths], plugins=[plugin]))


def some_test_fails(tests: list[str]) -> bool:
    """Run tests in a process of their own, the quickest first.

    :return: whether one failed, could not be imported, or did not end.
    :raises RuntimeError: pytest ran none of them.
    """
    files = sorted({test.partition("::")[0] for test in tests})
    code = in_a_child(lambda: run_tests(files, Selection(tests)))
    if code not in (None, 0, 1, 2):
        raise RuntimeError(f"pytest ended with {code} on {files}")
    return code != 0


class Tracer:
    """A pytest plugin that notes which test comes through which line of some files, and how long each takes."""

    def __init__(self, files: set[str]) -> None:
        self.files = files
        self.lines: dict[str, set[str]] = {}
        self.seconds: dict[str, float] = {}
        self._here: set[str] = set()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._here = self.lines.setdefault(nodeid, set())
        self.seconds[nodeid] = -time.process_time()
        sys.settrace(self._call)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        sys.settrace(None)
        self.seconds[nodeid] += time.process_time()

    def _call(self, frame: Any, event: str, argument: Any) -> Any:
        name = frame.f_code.co_filename
        if name not in self.files:
            return None
        here = self._here

        def line(frame: Any, event: str, argument: Any) -> Any:
            here.add(f"{name}:{frame.f_lineno}")
            return line

        here.add(f"{name}:{frame.f_lineno}")
        return line


def coverage(tree: Path, files: list[str]) -> tuple[dict[str, set[str]], dict[str, float]]:
    """Return of each test the lines it comes through, and its seconds.

    :raises SystemExit: the tests fail without any change.
    """

    def work() -> Any:
        tracer = Tracer({str(tree / path) for path in files})
        code = run_tests([TESTS], tracer)
        return code, {test: sorted(lines) for test, lines in tracer.lines.items()}, tracer.seconds

    answer = in_a_child(work)
    if answer is None or answer[0] != 0:
        raise SystemExit(f"{TESTS} fails without any change; run make quick")
    return {test: set(lines) for test, lines in answer[1].items()}, answer[2]


def measure(tree: Path, count: int, seed: int, targets: list[str]) -> dict[str, Any]:
    """Make changes one by one, and count those that are noticed."""
    files = sorted(
        str(path.relative_to(tree))
        for target in targets
        for path in ((tree / target).rglob("*.py") if (tree / target).is_dir() else [tree / target])
    )
    sources = {path: (tree / path).read_bytes() for path in files}
    possible = [change for path in files for change in changes(path, sources[path])]
    drawn = random.Random(seed).sample(possible, min(count, len(possible)))  # noqa: S311
    covered, seconds = coverage(tree, files)
    survived = []
    for number, change in enumerate(drawn, 1):
        tests = _tests_of(change, tree, covered)
        tests.sort(key=lambda test: seconds[test])
        (tree / change.path).write_bytes(change.apply(sources[change.path]))
        noticed = bool(tests) and some_test_fails(tests)
        (tree / change.path).write_bytes(sources[change.path])
        place = f"{change.path}:{change.line}"
        print(
            f"{number}/{len(drawn)} {'noticed ' if noticed else 'SURVIVED'} {place}",
            file=sys.stderr,
            flush=True,
        )
        if not noticed:
            what = f"{change.original} -> {change.text}"
            survived.append({"place": place, "change": what, "tests": len(tests)})
    noticed_count = len(drawn) - len(survived)
    return {
        "targets": targets,
        "seed": seed,
        "possible": len(possible),
        "made": len(drawn),
        "noticed": noticed_count,
        "share": round(noticed_count / max(1, len(drawn)), 3),
        "survived": sorted(survived, key=lambda each: each["place"]),
    }


def _tests_of(change: Change, tree: Path, covered: dict[str, set[str]]) -> list[str]:
    """The tests that come through a change; all, for what is executed on import or belongs to no test."""
    places = {f"{tree / change.path}:{line}" for line in change.covers}
    through = [test for test, lines in covered.items() if lines & places]
    if through or _inside_a_function(tree / change.path, change.line):
        return through
    return list(covered)


def _inside_a_function(path: Path, line: int) -> bool:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    return any(
        isinstance(node, functions) and _first_line(node) <= line <= (node.end_lineno or 0)
        for node in ast.walk(ast.parse(path.read_bytes()))
    )


def _first_line(node: Any) -> int:
    """Where a function's body begins: its defaults and decorators are executed on import."""
    return int(node.body[0].lineno if isinstance(node.body, list) else node.body.lineno)


def main() -> int:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description="Does make quick notice when the code is wrong?")
    parser.add_argument("--n", type=int, default=60, help="changes (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="which changes (default %(default)s)")
    parser.add_argument("--targets", default=TARGETS, help="files and folders (default %(default)s)")
    chosen = parser.parse_args()
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    sys.dont_write_bytecode = True  # a change may keep a file's size within its second
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        tree = copy_of_the_tree(Path(folder))
        os.chdir(tree)
        # Everything of the repository comes from the copy.
        own = (str(REPOSITORY), str(REPOSITORY / "bench"))
        sys.path[:] = [name for name in sys.path if name not in ("", *own)]
        for name in SHARED:
            importlib.import_module(name)
        found = measure(tree, chosen.n, chosen.seed, chosen.targets.split(","))
    json.dump(found, sys.stdout, indent=2)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
