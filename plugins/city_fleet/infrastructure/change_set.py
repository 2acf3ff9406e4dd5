"""A stack is changed by change sets alone: CloudFormation says what would happen before anything does.

Every call but those of :func:`execute` and :func:`discard` leaves the stack as it is.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from city_fleet import aws_errors
from city_fleet.errors import Busy, PlatformError

if TYPE_CHECKING:
    from types_boto3_cloudformation import CloudFormationClient
    from types_boto3_cloudformation.type_defs import ParameterTypeDef

#: What CloudFormation says of a change set without a change; it has no code of its own for it.
_NO_CHANGE = ("didn't contain changes", "no updates are to be performed")
#: A resource whose creation was cancelled because another one has failed is not what went wrong.
_CANCELLED = "cancelled"
_PREPARED_WITHIN_SECONDS = 300.0
_POLL_SECONDS = 2.0


@dataclass(frozen=True)
class Change:
    """What would happen to a resource.

    :param action: ``Add``, ``Modify``, ``Remove``, ``Import`` or ``Dynamic``, as CloudFormation says it.
    :param resource: its logical id.
    :param kind: such as ``AWS::S3::Bucket``.
    :param replacement: whether it would be made anew: ``True``, ``False`` or ``Conditional``; empty where it can't be.
    """

    action: str
    resource: str
    kind: str
    replacement: str = ""

    def to_dict(self) -> dict[str, str]:
        return asdict(self)


@dataclass(frozen=True)
class ChangeSet:
    """A change set that is ready, or nothing to change.

    :param name: empty where there is nothing to change: it is deleted already.
    :param creates: whether the stack is not there yet.
    :param changes: empty too where outputs or tags alone change.
    """

    stack: str
    name: str
    creates: bool
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Stacks:
    """Stacks of one account and region.

    :param poll_seconds: pause between two looks at what is under way.
    """

    client: CloudFormationClient
    poll_seconds: float = _POLL_SECONDS

    def described(self, name: str) -> dict[str, Any] | None:
        """Return a stack, or None where there is none, or only a change set that would create it."""
        try:
            (stack,) = self.client.describe_stacks(StackName=name)["Stacks"]
        except ClientError as error:
            if aws_errors.is_missing(error):
                return None
            raise
        return None if stack["StackStatus"] == "REVIEW_IN_PROGRESS" else dict(stack)

    def prepare(
        self,
        name: str,
        body: str,
        parameters: Mapping[str, str],
        tags: list[dict[str, str]],
        sent: Mapping[str, str] | None = None,
    ) -> ChangeSet:
        """Ask CloudFormation what a template would change.

        :param parameters: values that count now; of all others the stack keeps the one it has, or takes the default.
        :param sent: the member of the request that carries the template, as ``large_template.sendable`` gives it;
            None where the request carries it itself.
        :raises Busy: somebody else changes the stack right now.
        :raises PlatformError: the stack is in a state that takes no change, or the template is refused.
        """
        there = self.described(name)
        if there is not None:
            _refuse_state(name, str(there["StackStatus"]))
        known = {each["ParameterKey"] for each in there.get("Parameters", [])} if there else set()
        given: list[ParameterTypeDef] = [
            {"ParameterKey": key, "ParameterValue": value} for key, value in sorted(parameters.items())
        ]
        kept: list[ParameterTypeDef] = [
            {"ParameterKey": key, "UsePreviousValue": True}
            for key in sorted(known & set(json.loads(body)["Parameters"]) - set(parameters))
        ]
        change_set = f"city-fleet-{uuid.uuid4().hex[:12]}"
        nothing = ChangeSet(name, "", there is None, ())
        found = replace(nothing, name=change_set)
        try:
            self.client.create_change_set(
                StackName=name,
                ChangeSetName=change_set,
                ChangeSetType="UPDATE" if there else "CREATE",
                **(sent or {"TemplateBody": body}),  # type: ignore[arg-type]
                Parameters=[*given, *kept],
                Capabilities=["CAPABILITY_NAMED_IAM"],
                Tags=tags,  # type: ignore[arg-type]
            )
        except ClientError as error:
            if _says_no_change(aws_errors.message_of(error)):
                return nothing
            raise
        try:
            changes_something = self._until_prepared(found)
        except PlatformError:
            self.discard(found)
            raise
        if not changes_something:
            self.discard(found)
            return nothing
        return replace(found, changes=self._changes(found))

    def discard(self, change_set: ChangeSet) -> None:
        """Delete a change set, and the empty stack that it has brought with it."""
        self.client.delete_change_set(StackName=change_set.stack, ChangeSetName=change_set.name)
        if change_set.creates and self.described(change_set.stack) is None:
            self.client.delete_stack(StackName=change_set.stack)

    def execute(self, change_set: ChangeSet, within_seconds: float) -> dict[str, str]:
        """Carry out a change set and wait until the stack has settled.

        :return: the stack's outputs.
        :raises PlatformError: it failed, with the first resource that did and AWS's reason; CloudFormation has then
            taken everything back, or is about to.
        """
        seen = {event["EventId"] for event in self._events(change_set.stack)}
        self.client.execute_change_set(StackName=change_set.stack, ChangeSetName=change_set.name)
        status = self._until(
            lambda: str((self.described(change_set.stack) or {}).get("StackStatus", "REVIEW_IN_PROGRESS")),
            lambda found: not found.endswith("_IN_PROGRESS"),
            within_seconds,
            f"stack {change_set.stack}",
        )
        stack = self.described(change_set.stack) or {}
        if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            raise PlatformError(self._why(change_set.stack, status, seen))
        return {each["OutputKey"]: each["OutputValue"] for each in stack.get("Outputs", [])}

    def _until_prepared(self, change_set: ChangeSet) -> bool:
        """Wait until CloudFormation knows what would change.

        :return: whether anything would.
        :raises PlatformError: it refuses the change.
        """
        answer: dict[str, Any] = {}

        def status() -> str:
            answer.update(
                self.client.describe_change_set(StackName=change_set.stack, ChangeSetName=change_set.name)
            )
            return str(answer["Status"])

        what = f"the change set of stack {change_set.stack}"
        final = self._until(
            status, lambda found: found in ("CREATE_COMPLETE", "FAILED"), _PREPARED_WITHIN_SECONDS, what
        )
        reason = str(answer.get("StatusReason", ""))
        if final == "FAILED" and not _says_no_change(reason):
            raise PlatformError(f"stack {change_set.stack}: CloudFormation refuses the change: {reason}")
        return final != "FAILED"

    def _changes(self, change_set: ChangeSet) -> tuple[Change, ...]:
        found, token = [], None
        while True:
            page: dict[str, Any] = {} if token is None else {"NextToken": token}
            answer = self.client.describe_change_set(
                StackName=change_set.stack, ChangeSetName=change_set.name, **page
            )
            for each in answer.get("Changes", []):
                what = each.get("ResourceChange", {})
                found.append(
                    Change(
                        what.get("Action", ""),
                        what.get("LogicalResourceId", ""),
                        what.get("ResourceType", ""),
                        what.get("Replacement", ""),
                    )
                )
            token = answer.get("NextToken")
            if not token:
                return tuple(sorted(found, key=lambda change: (change.action, change.resource)))

    def _until(
        self, look: Callable[[], str], done: Callable[[str], bool], within_seconds: float, what: str
    ) -> str:
        end = time.monotonic() + within_seconds
        while True:
            status = look()
            if done(status):
                return status
            if time.monotonic() >= end:
                raise PlatformError(
                    f"{what} is {status} after {within_seconds:.0f} seconds. CloudFormation goes on; its console shows "
                    "how far it is, and the same command continues when it has settled"
                )
            time.sleep(self.poll_seconds)

    def _events(self, stack: str) -> list[dict[str, Any]]:
        """Return the events of a stack, the newest first."""
        try:
            pages = self.client.get_paginator("describe_stack_events").paginate(StackName=stack)
            return [dict(event) for page in pages for event in page["StackEvents"]]
        except ClientError as error:
            if aws_errors.is_missing(error):
                return []
            raise

    def _why(self, stack: str, status: str, seen: set[str]) -> str:
        for event in reversed(self._events(stack)):
            reason = str(event.get("ResourceStatusReason", ""))
            failed = str(event.get("ResourceStatus", "")).endswith("_FAILED")
            if failed and event["EventId"] not in seen and _CANCELLED not in reason.lower():
                what = f"{event['LogicalResourceId']} ({event['ResourceType']})"
                return f"stack {stack} is {status}: {what}: {reason or 'no reason is given'}"
        return f"stack {stack} is {status}, and CloudFormation gives no reason"


def _says_no_change(text: str) -> bool:
    return any(words in text.lower() for words in _NO_CHANGE)


def _refuse_state(name: str, status: str) -> None:
    if status.endswith("_IN_PROGRESS"):
        raise Busy(
            f"stack {name} is {status}: somebody changes it right now. Wait until it has settled, and try again"
        )
    if status in ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED"):
        raise PlatformError(
            f"stack {name} is {status}: its first creation did not succeed, and such a stack takes no change. Nothing "
            f"of yours is in it yet: aws cloudformation delete-stack --stack-name {name}, then try again"
        )
