"""What serving costs: ``make bench-serving`` prints JSON; every figure stands beside its peers' of the same run.

throughput   one row of text/csv to random models, at 1, 8 and 32 connections; all servers run, and are asked in turn,
             several times over. ``hello`` is our own server's ``GET /ping``: what HTTP alone costs it; ``ours-hot``
             asks one model alone, which the processor's caches then hold.
             ``cpu_us`` is the servers' processor time per request: it holds on a machine that others use too.
cold load    from the request to load a model to its answer.
memory       what the processes have grown by while the models were loaded, per model (proportional set size).
equal        how far predictions are from our own server's, at most, relatively.
zipf         10,000 models under a limit that holds a tenth; models are asked for as Zipf's law says (exponent 1).
resident     10,000 models loaded at once.
kinds        what each algorithm and task costs, in memory and time (serving_kinds.py); ``--kinds``: that alone.

There are 1,000 distinct artifacts; 10,000 models are ten names for each, which share nothing in memory. MLServer and
multi-model-server take too long to load, or too much memory, for 1,000 models: ``models`` says how many each has.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import serving_kinds
from bench.serving_peers.servers import ALL, SCRIPTS, Absent, FastApi, Ours, Server

REPOSITORY = Path(__file__).resolve().parents[1]
HOME = REPOSITORY / ".local" / "bench" / "serving"
CONNECTIONS = (1, 8, 32)
ORDER_LENGTH = 200_000
COLD_LOADS = 200
MANAGED_COLD_LOAD_MS = 8861  # of the managed container's own code; measured once, on this project's machine


class Load:
    """Runs the load generator, load.c.

    :param folder: for its files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._binary = folder / "load"
        source = Path(__file__).with_name("load.c")
        subprocess.run(["cc", "-O2", "-o", str(self._binary), str(source)], check=True)

    def prepare(self, name: str, requests: Iterator[bytes], order: list[int]) -> None:
        """Write what is to be sent."""
        with (self._folder / f"{name}.requests").open("wb") as file:
            for request in requests:
                file.write(struct.pack("<I", len(request)) + request)
        (self._folder / f"{name}.order").write_bytes(struct.pack(f"<{len(order)}I", *order))

    def run(self, server: Server, name: str, connections: int, seconds: float) -> dict[str, float]:
        """Send it for some seconds."""
        before = server.cpu_seconds()
        files = [str(self._folder / f"{name}.{kind}") for kind in ("requests", "order")]
        command = [str(self._binary), str(server.port), str(connections), str(seconds), *files]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        found["cpu_us"] = (server.cpu_seconds() - before) / found["requests"] * 1e6
        return dict(found)


def median(runs: list[dict[str, float]]) -> dict[str, float]:
    """The median of each figure; errors are added up."""
    keys = ("per_second", "p50_ms", "p99_ms", "cpu_us")
    found = {key: round(statistics.median(run[key] for run in runs), 3) for key in keys}
    return found | {"errors": sum(run["errors"] for run in runs)}


def zipf_order(count: int, chance: random.Random) -> list[int]:
    """Models as Zipf's law asks for them, the ranks shuffled."""
    ranks = list(range(count))
    chance.shuffle(ranks)
    weights = list(accumulate(1 / (rank + 1) for rank in range(count)))
    return [ranks[each] for each in chance.choices(range(count), cum_weights=weights, k=ORDER_LENGTH)]


class Bench:
    """What is measured.

    :param artifacts: folders of artifacts, and ``rows.json``.
    :param load: the load generator.
    :param seconds: how long a run is.
    :param rounds: how often each is measured.
    """

    def __init__(self, artifacts: Path, load: Load, seconds: float, rounds: int) -> None:
        self.folders = sorted(artifacts.glob("model-*"))
        self.rows: list[list[float]] = json.loads((artifacts / "rows.json").read_text())
        self.load = load
        self.seconds = seconds
        self.rounds = rounds
        self.chance = random.Random(1)  # noqa: S311

    def requests(self, server: Server, names: list[str]) -> Iterator[bytes]:
        """One request for each model."""
        for number, name in enumerate(names):
            yield server.request(name, self.rows[number % len(self.rows)])

    def fill(self, server: Server) -> dict[str, Any]:
        """Load a server's models one after another."""
        before = server.memory_bytes()
        count = min(server.models, len(self.folders))
        names = [folder.name for folder in self.folders[:count]]
        times = [server.load(name, self.folders[number]) for number, name in enumerate(names)]
        grown = server.memory_bytes() - before
        order = [self.chance.randrange(count) for _ in range(ORDER_LENGTH)]
        self.load.prepare(server.name, self.requests(server, names), order)
        return {
            "models": count,
            "cold_load_p50_ms": round(statistics.median(times[:COLD_LOADS]) * 1e3, 3),
            "mb_per_model": round(grown / count / 1e6, 4),
            "empty_mb": round(before / 1e6, 1),
        }

    def throughput(self, servers: list[Server]) -> dict[str, Any]:
        """All servers in turn, several times over."""
        runs: dict[str, dict[int, list[dict[str, float]]]] = {}
        plan = [(server, server.name) for server in servers]
        self.load.prepare("hello", iter([b"GET /ping HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"]), [0])
        for server in servers:
            if isinstance(server, Ours):
                self.load.prepare(f"{server.name}-hot", self.requests(server, [self.folders[0].name]), [0])
                plan += [(server, f"{server.name}-hot"), (server, "hello")]
        for server, name in plan:
            self.load.run(server, name, 8, 0.5)  # warm
        for _ in range(self.rounds):
            for connections in CONNECTIONS:
                for server, name in plan:
                    run = self.load.run(server, name, connections, self.seconds)
                    runs.setdefault(name, {}).setdefault(connections, []).append(run)
        return {
            name: {f"connections_{each}": median(found) for each, found in by_count.items()}
            for name, by_count in runs.items()
        }

    def equal(self, servers: list[Server]) -> dict[str, float]:
        """The largest relative distance of any peer's predictions from our own server's."""
        ours, *others = [server for server in servers if server.name != "mlserver"]
        worst = {}
        for other in others:
            pairs = [
                (self.folders[number % min(other.models, len(self.folders))].name, row)
                for number, row in enumerate(self.rows)
            ]
            worst[other.name] = max(
                abs(other.predict(name, row) / ours.predict(name, row) - 1) for name, row in pairs
            )
        return worst

    def many(self, servers: list[Server], count: int) -> dict[str, Any]:
        """Ten times as many models: all at once in our own server, then a tenth of them in both."""
        names = [f"{number}-{self.folders[number % len(self.folders)].name}" for number in range(count)]
        found: dict[str, Any] = {"models": count}
        ours = next(server for server in servers if isinstance(server, Ours))
        ours.start()
        before = ours.memory_bytes()
        self._load_all(ours, names)
        taken = ours.memory_bytes()
        found["resident"] = {
            "total_mb": round(taken / 1e6, 1),
            "mb_per_model": round((taken - before) / count / 1e6, 4),
        }
        _, text = ours.ask("GET", "/metrics")
        tenth = int(metric(text, "models_bytes") / 10)
        ours.stop()
        order = zipf_order(count, self.chance)
        found["zipf"] = {}
        limits = {"ours": {"MODEL_SERVER_MEMORY_BYTES": str(tenth)}, "fastapi": {"LIMIT": str(count // 10)}}
        running = [server for server in servers if server.name in limits]
        for server in running:
            server.start(**limits[server.name])
            self._load_all(server, names)
            self.load.prepare(f"zipf-{server.name}", self.requests(server, names), order)
            self.load.run(server, f"zipf-{server.name}", 32, self.seconds)  # the cache fills
        runs: dict[str, list[dict[str, float]]] = {server.name: [] for server in running}
        _, text = ours.ask("GET", "/metrics")
        before_hits, before_misses = metric(text, "hits_total"), metric(text, "misses_total")
        for _ in range(self.rounds):
            for server in running:
                runs[server.name].append(self.load.run(server, f"zipf-{server.name}", 32, self.seconds))
        _, text = ours.ask("GET", "/metrics")
        hits, misses = metric(text, "hits_total") - before_hits, metric(text, "misses_total") - before_misses
        for server in running:
            memory = round(server.memory_bytes() / 1e6, 1)
            found["zipf"][server.name] = median(runs[server.name]) | {"total_mb": memory}
            server.stop()
        found["zipf"]["ours"]["hit_rate"] = round(hits / max(hits + misses, 1), 4)
        return found

    def _load_all(self, server: Server, names: list[str]) -> None:
        for number, name in enumerate(names):
            server.load(name, self.folders[number % len(self.folders)])


def metric(text: bytes, name: str) -> float:
    """A metric without labels."""
    (line,) = [line for line in text.decode().splitlines() if line.startswith(f"model_server_{name} ")]
    return float(line.split()[-1])


def verdict(found: dict[str, Any]) -> dict[str, Any]:
    """The figures that the musts and aims of serving are about."""
    rates = {name: each["connections_32"]["per_second"] for name, each in found["throughput"].items()}
    cpu = {name: each["connections_32"]["cpu_us"] for name, each in found["throughput"].items()}
    tails = {name: each["connections_32"]["p99_ms"] for name, each in found["throughput"].items()}
    cold = found["servers"]["ours"]["cold_load_p50_ms"]
    return {
        "throughput_ratio": {name: round(rates["ours"] / rate, 2) for name, rate in rates.items()},
        "cpu_ratio": {name: round(each / cpu["ours"], 2) for name, each in cpu.items()},
        "p99_ratio": {name: round(tails["ours"] / each, 4) for name, each in tails.items()},
        "cold_load_ratio_to_managed": round(cold / MANAGED_COLD_LOAD_MS, 6),
    }


def make_artifacts(count: int) -> Path:
    """The artifacts; made once."""
    folder = HOME / f"artifacts-{count}"
    if not (folder / "rows.json").exists():
        image = REPOSITORY / ".venv-image" / "bin" / "python"
        script = Path(__file__).with_name("serving_models.py")
        subprocess.run([str(image), str(script), str(SCRIPTS), str(folder), str(count)], check=True)
    return folder


def main() -> int:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description="What serving costs.")
    parser.add_argument("--models", type=int, default=1000, help="distinct models (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each run (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each kind (default %(default)s)")
    parser.add_argument("--kinds", action="store_true", help="measure the kinds of models alone")
    parser.add_argument("--only", default="", help="servers, as ours,fastapi (default: all)")
    chosen = parser.parse_args()
    found: dict[str, Any] = {
        "machine": {
            "cpus": os.cpu_count(),
            "system": platform.platform(),
            "load": round(os.getloadavg()[0], 1),
        },
        "counts": {"models": chosen.models, "seconds": chosen.seconds, "rounds": chosen.rounds},
        "servers": {},
        "skipped": {},
    }
    if chosen.kinds:
        del found["counts"], found["servers"], found["skipped"]
        found["kinds"] = serving_kinds.measure(HOME)
        json.dump(found, sys.stdout, indent=2)
        print()
        return 0
    servers: list[Server] = []
    wanted = chosen.only.split(",") if chosen.only else [each.name for each in ALL]
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(make_artifacts(chosen.models), Load(Path(folder)), chosen.seconds, chosen.rounds)
        try:
            for kind in ALL:
                if kind.name not in wanted:
                    continue
                server: Server | None = None
                try:
                    server = kind(HOME / kind.name)
                    server.start()
                    print(f"{kind.name}: loading", file=sys.stderr)
                    found["servers"][kind.name] = bench.fill(server)
                    servers.append(server)
                except (Absent, RuntimeError) as error:
                    found["skipped"][kind.name] = str(error)
                    if server is not None:
                        server.stop()
            time.sleep(2)
            found["throughput"] = bench.throughput(servers)
            found["equal"] = bench.equal(servers)
            found["verdict"] = verdict(found)
            for server in servers:
                server.stop()
            found["many"] = bench.many(
                [each for each in servers if isinstance(each, Ours | FastApi)], 10 * chosen.models
            )
        finally:
            for server in servers:
                server.stop()
    found["kinds"] = serving_kinds.measure(HOME)
    json.dump(found, sys.stdout, indent=2)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
