"""What stands beside an approval status in the registry, and how a fleet's versions are found."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import botocore.session
import pytest
import regex
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from city_fleet.state import package_status, registry, registry_search
from tests.support.local_sagemaker import LocalSageMaker


@pytest.fixture(scope="module")
def sagemaker(aws: LocalSageMaker) -> Any:
    return aws.client("sagemaker")


@pytest.fixture
def group(sagemaker: Any) -> str:
    name = f"towns-{uuid.uuid4().hex}-laptop-austin"
    sagemaker.create_model_package_group(ModelPackageGroupName=name)
    return name


def create(sagemaker: Any, group: str, status: str = registry.PENDING, **metadata: str) -> str:
    sha256 = uuid.uuid4().hex * 2
    answer = sagemaker.create_model_package(
        ModelPackageGroupName=group,
        ModelPackageDescription=registry.package_description(
            "20140101T000000Z", sha256, "towns.austin/run", "0123456789"
        ),
        ModelApprovalStatus=status,
        CustomerMetadataProperties={"as_of": "20140101T000000Z", "artifact_sha256": sha256, **metadata},
    )
    return str(answer["ModelPackageArn"])


def read(sagemaker: Any, arn: str) -> registry.ModelPackage:
    found = registry.describe(sagemaker, arn)
    assert found is not None
    return found


def test_a_status_keeps_who_why_and_whether_it_is_done(sagemaker: Any, group: str) -> None:
    arn = create(sagemaker, group, **package_status.decided(registry.PENDING, "promote", "towns.austin/run"))
    waiting = read(sagemaker, arn)
    assert (waiting.status, waiting.decided_status, waiting.settled_status) == (registry.PENDING,) * 3
    assert (waiting.event, waiting.settled_event, waiting.group, waiting.number) == (
        "promote",
        "promote",
        group,
        1,
    )
    decision = package_status.decided(registry.APPROVED, "approve", "ann", settled=False)
    package_status.set_status(sagemaker, arn, decision, "approved by ann:\n fine")
    approved = read(sagemaker, arn)
    assert (approved.status, approved.event, approved.settled_status) == (
        "Approved",
        "approve",
        registry.PENDING,
    )
    assert approved.status_reason == "approved by ann: fine"
    assert approved.note_elsewhere == ""
    assert approved.metadata["decided_by"] == "ann"
    assert approved.metadata["decided_at"].startswith("20")
    assert approved.metadata["as_of"] == "20140101T000000Z"
    package_status.settle(sagemaker, approved)
    assert read(sagemaker, arn).settled_status == "Approved"


def test_a_change_made_elsewhere_is_told_apart(sagemaker: Any, group: str) -> None:
    arn = create(sagemaker, group, **package_status.decided(registry.PENDING, "promote", "run"))
    sagemaker.update_model_package(
        ModelPackageArn=arn, ModelApprovalStatus="Rejected", ApprovalDescription="No!"
    )
    changed = read(sagemaker, arn)
    assert (changed.decided_status, changed.settled_status) == (registry.PENDING, registry.PENDING)
    assert (changed.event, changed.settled_event, changed.note_elsewhere) == ("", "promote", "No!")


def test_a_version_of_an_earlier_city_fleet_counts_as_settled(sagemaker: Any, group: str) -> None:
    version = read(sagemaker, create(sagemaker, group, "Approved"))
    assert (version.decided_status, version.settled_status, version.event) == ("Approved", "Approved", "")
    assert not version.waits_for_person


def test_only_a_version_with_a_deadline_waits_for_a_person(sagemaker: Any, group: str) -> None:
    arn = create(sagemaker, group)
    assert not read(sagemaker, arn).waits_for_person
    package_status.note(sagemaker, arn, {registry.EXPIRES_AT: "20990101T000000Z"}, "the night is stopped")
    version = read(sagemaker, arn)
    assert version.waits_for_person
    assert (version.status, version.status_reason) == (registry.PENDING, "the night is stopped")
    rejection = package_status.decided(registry.REJECTED, "expire", "reconcile")
    package_status.set_status(sagemaker, arn, rejection, "expired")
    assert not read(sagemaker, arn).waits_for_person


def test_versions_are_listed_and_deleted_once(sagemaker: Any, group: str) -> None:
    first, second, third = (
        create(sagemaker, group, status) for status in ("Approved", "Approved", registry.PENDING)
    )
    assert [version.arn for version in registry.versions(sagemaker, group)] == [third, second, first]
    newest = registry.newest_approved(sagemaker, group)
    assert newest is not None
    assert (newest.arn, newest.number) == (second, 2)
    assert newest.created == read(sagemaker, second).created
    assert registry_search.waiting(sagemaker, group.removesuffix("laptop-austin")) == {third}
    assert registry.delete(sagemaker, second) is True
    assert registry.delete(sagemaker, second) is False
    assert registry.describe(sagemaker, second) is None
    newest = registry.newest_approved(sagemaker, group)
    assert newest is not None
    assert newest.arn == first


def test_a_group_that_is_not_there_has_no_versions_and_a_wrong_name_is_an_error(sagemaker: Any) -> None:
    assert registry.versions(sagemaker, f"towns-{uuid.uuid4().hex}") == []
    with pytest.raises(ClientError, match="Validation"):
        registry.versions(sagemaker, "not a name!")
    with pytest.raises(ClientError, match="Validation"):
        registry.describe(sagemaker, "not a name!")


def test_search_finds_what_waits_and_what_has_changed(sagemaker: Any, group: str) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)
    part = group.removesuffix("laptop-austin")
    waiting = create(sagemaker, group)
    changed = create(sagemaker, group, "Approved")
    create(sagemaker, group, "Approved")
    package_status.set_status(
        sagemaker, changed, package_status.decided(registry.REJECTED, "hold", "run"), "no"
    )
    found = {version.arn: version.status for version in registry_search.search(sagemaker, part, before)}
    assert found == {waiting: registry.PENDING, changed: registry.REJECTED}
    later = datetime.now(UTC) + timedelta(hours=1)
    assert [version.arn for version in registry_search.search(sagemaker, part, later)] == [waiting]
    everything = {version.arn for version in registry_search.search(sagemaker, part)}
    assert everything == {waiting, changed}
    assert list(registry_search.search(sagemaker, "no-such-fleet-")) == []


def test_search_reads_all_pages(sagemaker: Any, group: str) -> None:
    arns = {create(sagemaker, group) for _ in range(103)}
    part = group.removesuffix("laptop-austin")
    assert {version.arn for version in registry_search.search(sagemaker, part)} == arns


@cache
def metadata_shape() -> Any:
    return botocore.session.get_session().get_service_model("sagemaker").shape_for("CustomerMetadataValue")


@given(st.text(max_size=300))
def test_a_name_becomes_something_that_metadata_allow(text: str) -> None:
    """The pattern of botocore's own model, as AWS documents it."""
    shape = metadata_shape()
    allowed = regex.compile(shape.metadata["pattern"].removesuffix("${1,256}"))
    value = package_status.metadata_value(text)
    assert len(value) <= shape.metadata["max"]
    assert allowed.fullmatch(value)


def test_what_does_not_fit_into_metadata_stays_out() -> None:
    assert package_status.fitting({"a": "x" * 256, "b": "x" * 257, "c": "", "d": "y"}) == {
        "a": "x" * 256,
        "d": "y",
    }
    assert package_status.metadata_value("O'Brien <ann@example.org>") == "O_Brien _ann@example.org_"
