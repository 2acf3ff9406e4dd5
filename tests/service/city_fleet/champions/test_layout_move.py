"""An installation of the layout without environments is moved: real S3, a real registry, a real endpoint."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from city_fleet import naming
from city_fleet.champions import answers, layout_cleanup, layout_inventory, layout_move, moves
from city_fleet.errors import OldLayout, PublishError
from city_fleet.naming import Keys
from city_fleet.prediction.deadline import Deadline
from city_fleet.prediction.live_cache import LivePointers
from city_fleet.state import index, live, old_layout, registry
from city_fleet.state.author import Author
from city_fleet.state.context import CityContext
from city_fleet.state.model_address import Address
from city_fleet.state.objects import ObjectStore
from tests.support.factors import Aws
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.old_layout import BUCKET, OldInstallation


class Died(Exception):
    """The process was killed."""


def clients(aws: LocalSageMaker, writes: int | None = None) -> Aws:
    """Return clients; of a process that dies after so many writes, if that is said."""
    names = ("s3", "sagemaker", "sagemaker-runtime")
    # Another object for the same server: clients are kept, and what is registered with them too.
    own = aws if writes is None else replace(aws, _clients={})
    made = Aws(*(own.client(name) for name in names))
    left = [writes]

    def die(request: Any, **_: Any) -> None:
        operation = request.headers.get("X-Amz-Target", b"").decode().rpartition(".")[2]
        if request.method == "PUT" or operation.startswith(("Create", "Update", "Delete")):
            assert left[0] is not None
            left[0] -= 1
            if left[0] < 0:
                raise Died

    if writes is not None:
        made.s3.meta.events.register("before-send.s3", die)
        made.sagemaker.meta.events.register("before-send.sagemaker", die)
    return made


def move(aws: Aws, keys: Keys, *, dry_run: bool = False) -> list[layout_move.CityMoved]:
    cities = sorted(layout_inventory.cities(ObjectStore(aws.s3, keys.bucket), keys))
    return list(layout_move.run(aws, keys, cities, dry_run=dry_run))


def check_moved(old: OldInstallation, slug: str, nights: int = 3) -> None:
    """What serves, what served and what is registered is as it was, under its new name."""
    keys, before_keys = old.keys, old.old_keys
    before, after = live.read(old.s3, before_keys, slug), live.read(old.s3, keys, slug)
    assert before is not None
    assert after is not None
    group = naming.package_group(old.fleet, old.environment, slug)
    of_version = {version.arn: version.number for version in old.versions(slug)}
    assert after.pointer.package_arn in of_version
    assert after.pointer == replace(
        before.pointer,
        package_arn=after.pointer.package_arn,
        fleet=old.fleet,
        environment=old.environment,
    )
    chain = [
        live.read_kept(old.s3, keys, slug, sequence) for sequence in live.kept_sequences(old.s3, keys, slug)
    ]
    assert [state.sequence for state in chain] == list(range(1, nights + 1))
    assert all(state.package_arn in of_version for state in chain)
    pairs = list(zip(old.versions(slug, before=True), old.versions(slug), strict=True))
    assert [new.group for _, new in pairs] == [group] * (nights + 2)
    for was, new in pairs:
        assert (new.status, new.status_reason, new.as_of) == (was.status, was.status_reason, was.as_of)
        assert new.metadata == {
            name: text.replace(f"/{old.fleet}/", f"/{old.fleet}/{old.environment}/", 1)
            if text.startswith("s3://")
            else text
            for name, text in was.metadata.items()
        }
        assert new.artifact_uri.startswith(keys.uri(f"{keys.prefix}runs/{slug}/"))
        assert ObjectStore(old.s3, BUCKET).exists(naming.split_uri(new.artifact_uri)[1])
    entry = index.build(old.s3, keys).cities[slug]
    assert entry.champion is not None
    assert entry.champion.target_model == after.pointer.target_model
    assert {run.package_version for run in entry.runs} <= set(of_version.values())


def test_it_is_moved_whole_and_the_old_goes_on(aws: LocalSageMaker) -> None:
    old = OldInstallation(aws, environment="pre_prod")
    old.city("austin")
    old.city("bryan_college_station", nights=1)
    before, keys = old.objects(), old.keys
    with pytest.raises(OldLayout, match=rf"`./fleet migrate --fleet {old.fleet}` moves it, once") as refused:
        old_layout.refuse(old.s3, keys)
    assert refused.value.command == f"./fleet migrate --fleet {old.fleet}"
    planned = move(clients(aws), keys, dry_run=True)
    assert old.objects() == before
    assert old.versions("austin") == []
    assert [(each.city, each.versions, each.others) for each in planned] == [
        ("austin", 5, 0),
        ("bryan_college_station", 3, 0),
    ]

    done = move(clients(aws), keys)
    assert done == planned
    check_moved(old, "austin")
    check_moved(old, "bryan_college_station", nights=1)
    assert {key: etag for key, etag in old.objects().items() if key in before} == before
    old_layout.refuse(old.s3, keys)
    # An application that still reads the old keys is answered.
    assert LivePointers(old.s3, old.old_keys).get("austin", Deadline(10)).sequence == 3
    # Repeating it changes nothing.
    after = old.objects()
    assert [each.objects for each in move(clients(aws), keys)] == [0, 0]
    assert old.objects() == after


def test_it_may_die_at_any_write(aws: LocalSageMaker) -> None:
    old = OldInstallation(aws)
    old.city("austin", nights=2)
    writes, deaths = 0, 0
    while True:
        try:
            done = move(clients(aws, writes), old.keys)
        except Died:
            done = None
        if done is not None:
            break
        deaths += 1
        writes += 1 + deaths // 4
        if not ObjectStore(old.s3, BUCKET).exists(old.keys.moved()):
            with pytest.raises(OldLayout):
                old_layout.refuse(old.s3, old.keys)
        assert LivePointers(old.s3, old.old_keys).get("austin", Deadline(10)).sequence == 2
    assert deaths > 5
    check_moved(old, "austin", nights=2)


def test_what_is_moved_serves_and_rolls_back_and_the_old_can_go(aws: LocalSageMaker) -> None:
    old = OldInstallation(aws)
    old.city("austin")
    keys, endpoint = old.keys, naming.endpoint_name(old.fleet, old.environment)
    mine = clients(aws)

    def found() -> layout_cleanup.Leftovers:
        return layout_cleanup.look(mine, keys, ["austin"])

    with pytest.raises(PublishError, match=r"has not moved all of it yet. Nothing was deleted. Run it first"):
        layout_cleanup.refuse_early(mine, keys, endpoint, found())
    move(mine, keys)
    with pytest.raises(
        PublishError, match=f"there is no endpoint {endpoint}. Nothing was deleted. Run the DAG"
    ):
        layout_cleanup.refuse_early(mine, keys, endpoint, found())
    old.serve(old.old_keys, old.old_endpoint)
    with pytest.raises(
        PublishError, match=f"{old.old_endpoint} serves from s3://city-fleet/{old.fleet}/models/"
    ):
        layout_cleanup.refuse_early(mine, keys, old.old_endpoint, found())
    old.serve(keys, endpoint)
    layout_cleanup.refuse_early(mine, keys, endpoint, found())
    target = LivePointers(old.s3, keys).get("austin", Deadline(10)).target_model
    assert answers.invoke(mine.runtime, Address(endpoint, target), [[1.0, None]]) == [pytest.approx(1.3)]
    assert layout_cleanup.delete(mine, keys, found()) > 0
    assert {key.split("/")[1] for key in old.objects()} == {"production"}
    assert old.versions("austin", before=True) == []
    assert answers.invoke(mine.runtime, Address(endpoint, target), [[1.0, None]]) == [pytest.approx(1.3)]
    group = naming.package_group(old.fleet, old.environment, "austin")
    context = CityContext(mine, keys, endpoint, group, "austin")
    moved = moves.rollback(context, Author("ann"))
    assert moved.after is not None
    assert answers.invoke(mine.runtime, Address(endpoint, moved.after.target_model), [[1.0, None]]) == [
        pytest.approx(1.2)
    ]
    assert moved.notes == ()


def test_what_another_environment_has_written_there_stays(aws: LocalSageMaker) -> None:
    """Two environments met there: of one city the other one's pointer is live, and each has runs and versions."""
    ours = OldInstallation(aws, environment="production")
    theirs = OldInstallation(aws, environment="rehearsal", fleet=ours.fleet)
    ours.city("austin")
    ours.city("waco")
    theirs.city("waco", nights=4)
    before = ours.objects()
    done = {each.city: each for each in move(clients(aws), ours.keys)}
    assert done["austin"].live is not None
    assert done["waco"].live is None
    assert done["waco"].others > 0
    check_moved(ours, "austin")
    assert {version.status for version in ours.versions("waco")} == {
        "Approved",
        "PendingManualApproval",
        "Rejected",
    }
    assert ours.objects() | before == ours.objects()
    # The other one still has to be moved, and can be.
    with pytest.raises(OldLayout, match="environment 'rehearsal'"):
        old_layout.refuse(ours.s3, theirs.keys)
    move(clients(aws), theirs.keys)
    old_layout.refuse(ours.s3, theirs.keys)
    endpoint = ours.serve(ours.keys, naming.endpoint_name(ours.fleet, "production"))
    left = layout_cleanup.look(clients(aws), ours.keys, ["austin", "waco"])
    layout_cleanup.refuse_early(clients(aws), ours.keys, endpoint, left)
    layout_cleanup.delete(clients(aws), ours.keys, left)
    assert live.read(ours.s3, theirs.old_keys, "waco") is not None
    assert len(theirs.versions("waco", before=True)) == 6


def test_an_installation_that_begins_beside_an_old_one_is_let_in(aws: LocalSageMaker) -> None:
    OldInstallation(aws, environment="production", fleet=(old := OldInstallation(aws)).fleet).city(
        "austin", nights=1
    )
    fresh = Keys(BUCKET, old.fleet, "rehearsal")
    assert old_layout.left_over(old.s3, fresh) is None
    assert not ObjectStore(old.s3, BUCKET).exists(fresh.moved()), "who only looks writes nothing"
    old_layout.refuse(old.s3, fresh)
    mark = json.loads(old.read(fresh.moved()))
    assert (mark["fleet"], mark["environment"]) == (old.fleet, "rehearsal")
    nowhere = Keys(BUCKET, f"{old.fleet}_2", "rehearsal")
    old_layout.refuse(old.s3, nowhere)
    assert not ObjectStore(old.s3, BUCKET).exists(nowhere.moved())


def test_a_version_that_is_gone_leaves_no_wrong_name(aws: LocalSageMaker) -> None:
    old = OldInstallation(aws)
    old.city("austin")
    gone = old.versions("austin", before=True)[0]
    assert registry.delete(old.sagemaker, gone.arn)
    move(clients(aws), old.keys)
    first = live.read_kept(old.s3, old.keys, "austin", 1)
    group = naming.package_group(old.fleet, old.environment, "austin")
    assert first.package_arn.endswith(f"/{group}/0")
    second = live.read_kept(old.s3, old.keys, "austin", 2)
    assert registry.read(old.sagemaker, second.package_arn).as_of == second.as_of
