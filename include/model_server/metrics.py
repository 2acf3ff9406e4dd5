"""The server's metrics in Prometheus's text format. No label names a model: the number of series is fixed."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping

INVOKE_BUCKETS_SECONDS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 10.0)
LOAD_BUCKETS_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0, 30.0)


class Histogram:
    """How often something took how long.

    :param bounds: upper bounds of the buckets in seconds, rising.
    """

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def lines(self, name: str) -> Iterator[str]:
        """The histogram's series."""
        total = 0
        for bound, count in zip((*map(repr, self._bounds), "+Inf"), self._counts, strict=True):
            total += count
            yield f'{name}_bucket{{le="{bound}"}} {total}'
        yield f"{name}_sum {self._sum!r}"
        yield f"{name}_count {total}"


class Metrics:
    """All counters of a server. Changed in the event loop's thread alone, so without locks."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()  # by kind and class of status
        self.loads: Counter[tuple[str, str]] = Counter()  # by path and outcome
        self.hits = 0
        self.misses = 0
        self.evictions = 0
        self.rejected = 0
        self.plain = 0
        self.invoke_seconds = Histogram(INVOKE_BUCKETS_SECONDS)
        self.load_seconds = Histogram(LOAD_BUCKETS_SECONDS)

    def text(self, gauges: Mapping[str, tuple[str, float]]) -> bytes:
        """Everything in the text format, version 0.0.4.

        :param gauges: description and value at this moment, by name.
        """
        lines: list[str] = []

        def begin(name: str, kind: str, description: str) -> str:
            full = f"model_server_{name}"
            lines.extend((f"# HELP {full} {description}", f"# TYPE {full} {kind}"))
            return full

        name = begin("requests_total", "counter", "Requests by kind and class of status.")
        for (kind, status), count in sorted(self.requests.items()):
            lines.append(f'{name}{{kind="{kind}",status="{status}xx"}} {count}')
        name = begin(
            "loads_total", "counter", "Models that were loaded, or were not, by the path that serves them."
        )
        for (path, outcome), count in sorted(self.loads.items()):
            lines.append(f'{name}{{path="{path}",outcome="{outcome}"}} {count}')
        for short, count, description in (
            ("hits_total", self.hits, "Invocations whose model was in memory."),
            ("misses_total", self.misses, "Invocations whose model was not."),
            ("evictions_total", self.evictions, "Models that made room for others."),
            ("rejected_total", self.rejected, "Requests answered with 503 because too many were waiting."),
            ("plain_total", self.plain, "Invocations answered without the user's functions."),
        ):
            lines.append(f"{begin(short, 'counter', description)} {count}")
        name = begin(
            "invoke_seconds", "histogram", "Time from a whole request to its answer, of invocations."
        )
        lines.extend(self.invoke_seconds.lines(name))
        name = begin("load_seconds", "histogram", "Time to load a model.")
        lines.extend(self.load_seconds.lines(name))
        for short, (description, value) in gauges.items():
            lines.append(f"{begin(short, 'gauge', description)} {value:.12g}")
        return ("\n".join(lines) + "\n").encode()
