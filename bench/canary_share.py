"""Whether a canary gets the share that it was given: ``make bench-canary`` prints JSON, and fails where it does not.

A city's champion and its challenger are two real models on a real endpoint of the local SageMaker, and the predictor
that applications use is asked again and again. The champion must answer what it has predicted when it was trained, the
challenger always the same and something else; in the end the live pointer must be what it was. The share may be off by
two percentage points: of 10,000 independent requests and a share of 10 % that would be six standard deviations.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections import Counter
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from city_fleet import clock
from city_fleet.prediction.challenger_cache import Trials
from city_fleet.prediction.endpoint_cache import Endpoints
from city_fleet.prediction.live_cache import LivePointers
from city_fleet.prediction.model_question import Asked
from city_fleet.prediction.predict import Prediction, Predictor
from city_fleet.state import challengers, live
from city_fleet.state.challengers import CANARY, Challenger
from city_fleet.state.live_pointer import LivePointer, ServedModel
from city_fleet.state.objects import ObjectStore
from city_fleet.state.observed import CHALLENGER, CHAMPION
from tests.support.local_sagemaker import running_server
from tests.support.serving import KEYS, Serving, serve

CITY = "waco"
#: Requests of one call, as a page that asks for many cities makes them.
TOGETHER = 50
SECONDS = 25.0
MOST_OFF = 0.02


def begin(serving: Serving, share: float) -> LivePointer:
    """Make model 0 the champion and model 1 its challenger, and return the champion."""
    other = serving.publish(CITY, 1)
    champion = serving.publish(CITY, 0)
    now = clock.utc_now()
    trial = Challenger(
        model=ServedModel(**{each.name: getattr(other, each.name) for each in fields(ServedModel)}),
        version=1,
        way=CANARY,
        share=share,
        champion=champion.target_model,
        sequence=champion.sequence,
        since=clock.iso(now),
        until=clock.iso(now + timedelta(days=1)),
        by="bench",
    )
    challengers.change(ObjectStore(serving.s3, KEYS.bucket), KEYS, lambda found: found.begun(trial))
    return champion


def ask(serving: Serving, calls: int) -> tuple[Counter[str], list[str]]:
    """Return how many requests each role has answered, and what was wrong."""
    runtime = serving.server.client("sagemaker-runtime")
    predictor = Predictor(
        LivePointers(serving.s3, KEYS),
        runtime,
        Endpoints(serving.s3, KEYS, serving.endpoint),
        trials=Trials(serving.s3, KEYS),
    )
    row, of_champion = serving.expected(0)
    expected = {CHAMPION: of_champion}
    by_role: Counter[str] = Counter()
    wrong: list[str] = []
    left = calls
    while left:
        together = min(TOGETHER, left)
        left -= together
        for answer in predictor.predict_many([Asked(CITY, row)] * together, SECONDS):
            if not isinstance(answer, Prediction) or answer.prediction is None:
                wrong.append(str(answer))
                continue
            by_role[answer.role] += 1
            # The challenger's own answer for this row is what it says first; it is another model's than the champion's.
            same = expected.setdefault(answer.role, answer.prediction)
            if not math.isclose(answer.prediction, same, rel_tol=1e-6):
                wrong.append(f"the {answer.role} said {answer.prediction}, not {same}")
    if len({round(each, 3) for each in expected.values()}) < len(expected):
        wrong.append("champion and challenger say the same")
    return by_role, wrong


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=10_000, help="requests (default: 10000)")
    parser.add_argument("--share", type=float, default=0.1, help="of the challenger (default: 0.1)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        home, models = Path(temporary) / "server", Path(temporary) / "models"
        home.mkdir()
        models.mkdir()
        with running_server(home) as server:
            server.client("s3").create_bucket(Bucket=KEYS.bucket)
            serving = serve(server, models)
            champion = begin(serving, given.share)
            started = time.perf_counter()
            by_role, wrong = ask(serving, given.calls)
            seconds = time.perf_counter() - started
            found = live.read(serving.s3, KEYS, CITY)
    if found is None or found.pointer != champion:
        wrong.append("the live pointer has changed")
    share = by_role[CHALLENGER] / given.calls
    if abs(share - given.share) > MOST_OFF:
        wrong.append(f"the share is off by more than {100 * MOST_OFF:g} points")
    report = {
        "calls": given.calls,
        "share_asked_for": given.share,
        "share": round(share, 4),
        "by_role": dict(by_role),
        "seconds": round(seconds, 1),
        "mistakes": len(wrong),
        "first_mistakes": wrong[:5],
    }
    print(json.dumps(report, indent=2))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
