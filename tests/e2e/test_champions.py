"""Champions on the real stack: what people type at night, and what the next runs make of it.

The tests of one city follow its story from top to bottom; the other cities' runs end meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.e2e.conftest import AS_OF, Fleet

# tests/service/city_fleet/champions tells each move without an Airflow.
pytestmark = [pytest.mark.e2e, pytest.mark.long]
FLEET = "texas_housing"
# Each of these models beats the ones before it.
CITY, EARLIER = "corpus_christi", ("2012-08-01", "2013-08-01")
DAG_ID = f"{FLEET}.{CITY}"
# Its second model beats the naive forecast, and the first one beats both.
WORSE, WORSE_RUNS = "houston", ("2013-08-01", "2014-08-01")


@dataclass
class Story:
    """One city's runs and models, in the order in which they came.

    :param runs: run ids; the last one is tonight's.
    :param models: target models.
    """

    fleet: Fleet
    runs: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)

    @property
    def pointer(self) -> dict[str, Any]:
        found = self.fleet.pointer(FLEET, CITY)
        assert found is not None
        return found

    @property
    def serves(self) -> tuple[int, str, bool]:
        """Return sequence and model of the live pointer, and whether it is pinned."""
        return self.pointer["sequence"], self.pointer["target_model"], self.pointer["pinned"]

    def publication(self) -> dict[str, Any]:
        """Return what tonight's publish came to."""
        return dict(self.fleet.result(DAG_ID, "publish", self.runs[-1]))

    def clear_tonight(self, *task_ids: str) -> None:
        """Clear tasks of tonight's run with everything downstream, and wait until it has ended."""
        self.fleet.clear(DAG_ID, *task_ids, downstream=True, run_id=self.runs[-1])
        assert self.fleet.ended(DAG_ID, self.runs[-1]) == "success"


def move(fleet: Fleet, *arguments: str) -> dict[str, Any]:
    """Run a command that moves the pointer of one city; return what it did."""
    (done,) = fleet.command(*arguments, "--by", "ann")
    assert done["outcome"] == "moved", done
    return dict(done)


@pytest.fixture(scope="module")
def story(fleet: Fleet) -> Story:
    """Start all runs that need nothing of each other. Of one city they run one after the other."""
    started = Story(fleet)
    started.runs = [fleet.start(DAG_ID, as_of=as_of) for as_of in EARLIER]
    for as_of in WORSE_RUNS:
        fleet.runs[f"{FLEET}.{WORSE}"] = fleet.start(f"{FLEET}.{WORSE}", as_of=as_of)
    return started


def test_rollback_returns_to_what_served_before_and_to_goes_forward(story: Story) -> None:
    fleet = story.fleet
    for run_id in story.runs:
        assert fleet.ended(DAG_ID, run_id) == "success"
        record = fleet.record(DAG_ID, run_id)
        assert record["outcome"] == "live", record["reasons"]
        story.models.append(record["target_model"])
    first, second = story.models
    assert story.serves == (2, second, False)

    move(fleet, "rollback", CITY, "--reason", "prices ten times too high")
    assert story.serves == (3, first, True)
    assert story.pointer["reason"] == "prices ten times too high"
    move(fleet, "rollback", CITY, "--to", "2")
    assert story.serves == (4, second, True)

    # By its name, as people write it, the city is forecast as its model was when it was evaluated.
    answer = fleet.command("predict", CITY.replace("_", " ").title())
    forecast = fleet.result(DAG_ID, "evaluate", story.runs[1])["report"]["forecast"]
    assert answer["target_model"] == second
    assert [each["period"] for each in answer["forecasts"]] == [
        each["period"] for each in forecast["forecasts"]
    ]
    assert answer["prediction"] == pytest.approx(forecast["forecasts"][0]["prediction"], rel=1e-6)

    story.runs.append(fleet.start(DAG_ID, as_of=AS_OF))


def test_predict_asks_the_model_that_serves(story: Story) -> None:
    answer = story.fleet.command("predict", CITY, "--example")
    assert answer["target_model"] == story.models[1]
    assert answer["prediction"] == pytest.approx(answer["expected"], rel=1e-6)


def test_a_worse_model_is_held_and_goes_live_by_name_of_a_person(story: Story) -> None:
    fleet, dag_id = story.fleet, f"{FLEET}.{WORSE}"
    assert fleet.ended(dag_id) == "success"
    record = fleet.record(dag_id)
    assert record["outcome"] == "held"
    assert "is worse than the champion's" in record["reasons"][0]
    before = fleet.pointer(FLEET, WORSE)
    assert before is not None
    assert before["as_of"] == "20130801T000000Z"

    done = move(fleet, "promote", WORSE, "--reason", "the champion was lucky")
    assert any("was Rejected in the registry and is Approved now" in note for note in done["notes"])
    pointer = fleet.pointer(FLEET, WORSE)
    assert pointer is not None
    assert pointer["package_arn"] == record["package_arn"]
    assert (pointer["move"], pointer["moved_by"], pointer["predecessor"]) == (
        "promote",
        "ann",
        before["target_model"],
    )


def test_tonights_run_respects_the_pin(story: Story) -> None:
    fleet, tonight = story.fleet, story.runs[-1]
    assert fleet.ended(DAG_ID, tonight) == "success"
    assert fleet.result(DAG_ID, "decide", tonight)["promote"] is True
    record = fleet.record(DAG_ID, tonight)
    story.models.append(record["target_model"])
    assert record["outcome"] == "held"
    assert f"{story.models[1]} is pinned by ann" in record["reasons"][0]
    assert f"`./fleet unpin {CITY}`" in record["reasons"][0]
    assert story.serves == (4, story.models[1], True)
    # The model that serves is the old one, and it is asked about tonight's data.
    answer, tonights = fleet.command("predict", CITY), fleet.result(DAG_ID, "evaluate", tonight)["report"]
    assert answer["target_model"] == story.models[1]
    assert answer["known_until"] == tonights["forecast"]["known_until"]
    assert answer["as_of"] < answer["known_until"]


def test_status_names_the_state_of_a_pinned_city(story: Story) -> None:
    (found,) = story.fleet.command("status", CITY)
    (city,) = found["cities"]
    assert (city["state"], city["champion"]["pinned"], city["last_run"]["outcome"]) == ("STALE", True, "held")


def test_the_digest_names_what_the_night_came_to(story: Story) -> None:
    assert story.fleet.ended(f"{FLEET}.waco") == "success"
    (digest,) = story.fleet.command("digest", "--fleet", FLEET, "--night", AS_OF)
    causes = {city: group["cause"] for group in digest["outcomes"]["held"] for city in group["cities"]}
    assert "is pinned by ann" in causes[CITY]
    assert "is pinned" not in causes["waco"]


def test_after_unpin_the_held_run_publishes_when_it_is_cleared_from_the_decision_on(story: Story) -> None:
    done = move(story.fleet, "unpin", CITY, "--reason", "raw data is repaired")
    assert done["after"]["target_model"] == story.models[1]
    assert story.serves == (5, story.models[1], False)

    story.clear_tonight("decide")
    assert story.publication()["outcome"] == "live"
    assert story.serves == (6, story.models[2], False)
    assert story.fleet.record(DAG_ID, story.runs[-1])["outcome"] == "live"
    package = story.fleet.client("sagemaker").describe_model_package(
        ModelPackageName=story.pointer["package_arn"]
    )
    assert package["ModelApprovalStatus"] == "Approved"


def test_every_rollback_goes_further_back_until_nothing_is_left(story: Story) -> None:
    first, second, third = story.models
    done = move(story.fleet, "rollback", CITY)
    assert done["before"]["target_model"] == third
    assert story.serves == (7, second, True)
    move(story.fleet, "rollback", CITY)
    assert story.serves == (8, first, True)
    (refused,) = story.fleet.command("rollback", CITY, code=1)
    assert "there is nothing to roll back to" in refused["error"]["message"]
    assert story.serves == (8, first, True)


def test_a_champion_rolled_back_before_publish_sends_the_challenger_back_to_evaluation(story: Story) -> None:
    """The decision compares with a champion that serves no more: publish compares with the one that serves now."""
    fleet, tonight = story.fleet, story.runs[-1]
    first, second, third = story.models
    move(fleet, "unpin", CITY)
    decision = fleet.result(DAG_ID, "decide", tonight)
    assert decision["champion_target_model"] == second

    story.clear_tonight("publish")
    assert "is no longer the one evaluated against" in fleet.task_log(
        DAG_ID, "publish", tonight, try_number=3
    )
    published = story.publication()
    assert published["outcome"] == "live", published["reasons"]
    assert story.serves == (10, third, False)
    assert story.pointer["predecessor"] == first

    def against_champion(reasons: list[str]) -> str:
        return next(reason for reason in reasons if "holds against the champion's" in reason)

    assert against_champion(published["reasons"]) != against_champion(decision["reasons"])


def test_history_says_what_served_when_moved_by_whom_and_why(story: Story) -> None:
    first, second, third = story.models
    told = story.fleet.command("history", CITY)
    assert told["problem"] is None
    states = [served["state"] for served in told["states"]]
    by_run = [f"{DAG_ID}/{run_id}" for run_id in story.runs]
    assert [
        (state["move"], state["target_model"], state["pinned"], state["moved_by"], state["restores"])
        for state in states
    ] == [
        ("publish", first, False, by_run[0], None),
        ("publish", second, False, by_run[1], None),
        ("rollback", first, True, "ann", 1),
        ("rollback", second, True, "ann", 2),
        ("unpin", second, False, "ann", 2),
        ("publish", third, False, by_run[2], None),
        ("rollback", second, True, "ann", 2),
        ("rollback", first, True, "ann", 1),
        ("unpin", first, False, "ann", 1),
        ("publish", third, False, by_run[2], None),
    ]
    assert [served["sequence"] for served in told["states"]] == list(range(1, 11))
    assert [served["live"] for served in told["states"]] == [False] * 9 + [True]
    assert states[4]["reason"] == "raw data is repaired"
    until = [served["until"] for served in told["states"]]
    assert until == [state["moved_at"] for state in states[1:]] + [None]
