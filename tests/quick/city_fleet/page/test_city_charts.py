"""The charts of a city's page, and what stands beside them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from city_fleet.champions.champion_history import Served
from city_fleet.page import city_page
from city_fleet.page.chart import Chart
from city_fleet.page.city_charts import charts
from city_fleet.state.live_pointer import LivePointer
from city_fleet.views import city_answers
from city_fleet.views.city_answers import Ahead, Forecast, HeldOut, HeldRow
from city_fleet.views.city_runs import Job, StoryRun
from city_fleet.views.city_story import CityStory

AT = datetime(2015, 5, 1, tzinfo=UTC)


def run(as_of: str, mape: float, outcome: str = "live", **more: Any) -> StoryRun:
    jobs = (
        Job("train", "j", "Completed", "ml.m5.large", 30.0),
        Job("evaluate", "k", "Completed", "ml.t3.medium", 5),
    )
    values = {"challenger": mape, "champion": 0.05, "last known value": 0.06}
    return StoryRun(as_of, "2015-05-01T00:00:00+00:00", outcome, True, values=values, jobs=jobs, **more)


def forecast(as_of: str, months: list[int], first: float) -> Forecast:
    ahead = tuple(
        Ahead(
            f"2015-{month:02}-01",
            step,
            first + step,
            {"80": (first - 5, first + 5), "95": (first - 9, first + 9)},
        )
        for step, month in enumerate(months, 1)
    )
    return Forecast(as_of, ahead, "US$")


def pointer(as_of: str, moved_at: str, **more: Any) -> LivePointer:
    return LivePointer(
        city="austin",
        target_model=f"austin/{as_of}-0123456789ab.tar.gz",
        package_arn="arn/1",
        as_of=as_of,
        metrics={},
        features=(),
        artifact_sha256="0" * 64,
        sequence=1,
        published_at=moved_at,
        published_by="ann",
        **more,
    )


def series(**more: Any) -> CityStory:
    rows = tuple(
        HeldRow(f"2014-{month:02}-01", step, 100.0 + month, 101.0 + month * step, 90.0)
        for month in range(1, 13)
        for step in (1, 2, 3)
    )
    held_out = HeldOut("20150401T000000Z", "regression", rows, len(rows))
    told = CityStory(
        fleet="texas_housing",
        environment="laptop",
        city="austin",
        name="Austin",
        at=AT,
        task="regression",
        kind="series",
        metric="mape",
        unit="US$",
        frequency="month",
        target="median",
        champion=pointer("20150301T000000Z", "2015-03-02T00:00:00+00:00"),
        runs=(run("20150401T000000Z", 0.04, "held"), run("20150301T000000Z", 0.03)),
        forecasts=(
            forecast("20150401T000000Z", [4, 5, 6], 200),
            forecast("20150301T000000Z", [3, 4, 5], 100),
        ),
        actual={f"2014-{month:02}-01": 100.0 + month for month in range(1, 13)} | {"2015-03-01": 101.5},
        held_out=held_out,
        errors=city_answers.errors_of(rows),
    )
    return replace(told, **more)


def by_id(story: CityStory) -> dict[str, Chart]:
    return {chart.id: chart for chart in charts(story)}


def classes() -> CityStory:
    rows = [
        {
            "period": str(n),
            "actual": "late" if n % 3 else "on time",
            "predicted": {"late": n / 9, "on time": 1 - n / 9},
        }
        for n in range(10)
    ]
    held_out = city_answers.held_out_of(
        {"task": "binary", "classes": ["on time", "late"], "rows": rows}, "20150401T000000Z"
    )
    assert held_out is not None
    found = city_answers.classes_of(held_out)
    return series(
        kind="table",
        task="binary",
        metric="log_loss",
        forecasts=(),
        errors=None,
        held_out=held_out,
        classes=found,
    )


def houses() -> CityStory:
    rows = tuple(HeldRow(f"sale {n}", 1, 100.0 * n, 100.0 * n + 10, 90.0) for n in (3, 1, 2))
    held_out = HeldOut("20150401T000000Z", "regression", rows, 3)
    errors = city_answers.errors_of(rows)
    return series(kind="table", frequency="", forecasts=(), held_out=held_out, errors=errors)


def test_every_line_has_a_value_for_every_x_and_the_table_says_the_same(subtests: Any) -> None:
    stories = {"series": series(), "classes": classes(), "houses": houses()}
    seen = set()
    for name, story in stories.items():
        for chart in charts(story):
            with subtests.test(story=name, chart=chart.id):
                seen.add(chart.id)
                assert list(chart.xs) == sorted(chart.xs)
                assert all(len(line.values) == len(chart.xs) for line in chart.lines)
                assert len(chart.rows) == len(chart.xs)
                assert all(len(row) == len(chart.head) for row in chart.rows)
                assert all(band.high < len(chart.lines) for band in chart.bands)
                json.dumps(chart.to_dict(), allow_nan=False)
    assert seen == {"metric", "forecast", "held-out", "residuals", "histogram", "calibration", "jobs"}


def test_the_forecast_of_what_serves_has_the_intervals() -> None:
    chart = by_id(series())["forecast"]
    labels = [line.label for line in chart.lines]
    assert labels[:2] == ["really happened", "forecast, data until 2015-03-01 (serves)"]
    assert "newest model, data until 2015-04-01" in labels
    assert [(band.label, chart.lines[band.low].label) for band in chart.bands] == [
        ("95 % interval", "95 % from"),
        ("80 % interval", "80 % from"),
    ]
    # March was forecast, and has happened; of April two models have said something.
    of = {row[0]: dict(zip(chart.head, row, strict=True)) for row in chart.rows}
    assert (of["2015-03-01"]["really happened"], of["2015-03-01"][labels[1]]) == ("102", "101")
    assert (of["2015-04-01"]["really happened"], of["2015-04-01"][labels[1]]) == ("–", "102")
    assert of["2015-04-01"]["newest model, data until 2015-04-01"] == "201"


def test_without_a_champion_the_newest_forecast_is_shown() -> None:
    chart = by_id(series(champion=None))["forecast"]
    assert chart.lines[1].label == "forecast, data until 2015-04-01"
    assert len(chart.bands) == 2


def test_a_limit_that_would_press_all_lines_into_one_is_said_instead() -> None:
    near = by_id(series(limits={"mape": 0.07}))["metric"]
    assert "limit of the gate" in [line.label for line in near.lines]
    far = by_id(series(limits={"mape": 0.25}))["metric"]
    assert "limit of the gate" not in [line.label for line in far.lines]
    assert "25.0%" in far.says


def test_the_champion_is_compared_on_the_rows_on_which_it_can_be_measured() -> None:
    newest = run("20150401T000000Z", 0.04, "held", beside_champion=0.055)
    found = {each.name: each.better for each in city_page.standing(series(runs=(newest,)))}
    assert found["new model"] is None
    assert found["champion"] is not None
    assert abs(found["champion"] - (0.05 - 0.055) / 0.05) < 1e-9
    assert found["last known value"] is not None
    assert abs(found["last known value"] - (0.06 - 0.04) / 0.06) < 1e-9


def test_periods_that_are_none_are_left_out() -> None:
    rows = (HeldRow("soon", 1, 1.0, 2.0), HeldRow("2014-01-01", 1, 1.0, 2.0))
    held_out = HeldOut("20150401T000000Z", "regression", rows, 2)
    assert len(by_id(series(held_out=held_out))["held-out"].xs) == 1


def test_nothing_to_show_is_no_chart() -> None:
    bare = series(runs=(), forecasts=(), actual={}, held_out=None, errors=None)
    assert charts(bare) == []


def test_a_model_that_serves_again_has_one_lane() -> None:
    moves = [
        Served(
            1, pointer("20150101T000000Z", "2015-01-02T00:00:00+00:00"), "2015-02-02T00:00:00+00:00", False
        ),
        Served(
            2, pointer("20150201T000000Z", "2015-02-02T00:00:00+00:00"), "2015-03-02T00:00:00+00:00", False
        ),
        Served(3, None, None, False, "it can't be read"),
        Served(4, pointer("20150101T000000Z", "2015-03-02T00:00:00+00:00", move="rollback"), None, True),
    ]
    found = city_page.lanes(moves, AT)
    assert found is not None
    assert [(lane.name, len(lane.stretches)) for lane in found.lanes] == [
        ("2015-02-01", 1),
        ("2015-01-01", 2),
    ]
    for lane in found.lanes:
        assert all(each.left >= 0 and each.left + each.width <= 100.01 for each in lane.stretches)
    back = found.lanes[1].stretches[1]
    assert (back.served.live, round(back.left + back.width)) == (True, 100)
    assert city_page.lanes(moves[2:3], AT) is None
    assert city_page.lanes([], AT) is None


def test_a_city_that_was_removed_ends_in_its_timeline() -> None:
    gone = pointer("20150101T000000Z", "2015-02-02T00:00:00+00:00", move="remove")
    served = Served(1, pointer("20150101T000000Z", "2015-01-02T00:00:00+00:00"), gone.moved_at, False)
    found = city_page.lanes(
        [served, Served(2, gone, None, False)], datetime(2015, 2, 2, tzinfo=UTC) + timedelta(31)
    )
    assert found is not None
    assert [round(each.left + each.width) for each in found.lanes[0].stretches] == [50]


def test_a_confusion_matrix_darkens_by_rows() -> None:
    story = classes()
    assert story.classes is not None
    for line, counts in zip(city_page.heat(story.classes), story.classes.matrix, strict=True):
        assert [count for count, _ in line] == list(counts)
        assert sum(dark for _, dark in line) in range(8, 11)
