"""A pass of retiring: mark what nothing needs, delete what has been marked long enough. boto3 clients are passed in.

A pass may be stopped at any moment and run again, by two processes at once too. The order of steps sees to it:
read the city, store the marks with what is going, look at the live pointer once more, delete, take the marks away. A
city that fails is left as it is and never keeps the others from their turn.
"""

from __future__ import annotations

import itertools
import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from city_fleet import aws_errors, outgoing_text
from city_fleet.clock import utc_now
from city_fleet.config import Fleet
from city_fleet.errors import CityFleetError, PointerMoved
from city_fleet.jobs.pacing import RETRIES
from city_fleet.retiring import retire
from city_fleet.retiring.retire import Deletion, Plan
from city_fleet.retiring.retire_cohorts import retire_cohorts
from city_fleet.retiring.retire_facts import Inventory, Rule
from city_fleet.retiring.retire_inventory import CityObjects, InventorySource, cities
from city_fleet.retiring.retire_report import CityReport
from city_fleet.state import live, registry, retire_marks
from city_fleet.state.objects import json_of, rounds

log = outgoing_text.logger(__name__)

#: Requests a second to the model registry. Its limits are not published; List and Describe of jobs stand about 2.
REGISTRY_REQUESTS_PER_SECOND = 4.0
#: Cities at the same time. S3 answers each request within some 20 ms, and a city takes 5 to 25 of them.
PARALLEL_CITIES = 8
#: For both clients: a connection for each city, and patience with a registry that throttles.
CLIENT_CONFIG = RETRIES.merge(Config(max_pool_connections=PARALLEL_CITIES))


def rule_of(fleet: Fleet) -> Rule:
    """Return the rule that a fleet file sets."""
    settings, grace = fleet.retire, timedelta(days=fleet.retire.grace_days)
    return Rule(settings.keep_newest, settings.keep_predecessors, grace, settings.delete_packages)


def run(
    source: InventorySource,
    rule: Rule,
    *,
    only: Sequence[str] | None = None,
    dry_run: bool = False,
    in_time: Callable[[], bool] = lambda: True,
    clock: Callable[[], datetime] = utc_now,
) -> Iterator[CityReport]:
    """Go through the cities, in alphabetical order, several at a time, and yield what was done with each.

    When time runs out, the next pass begins with the city after the last one of this pass.

    :param only: just these cities.
    :param dry_run: change nothing.
    :param in_time: says whether there is time for another city.
    """
    whole = only is None and not dry_run
    after = _cursor(source) if whole else ""
    found: Iterator[CityObjects] = cities(source.s3, source.keys, after, only)
    if after:
        begun = cities(source.s3, source.keys)
        found = itertools.chain(found, itertools.takewhile(lambda each: each.city <= after, begun))
    under_way: deque[Future[CityReport]] = deque()
    last, complete = "", False
    with ThreadPoolExecutor(PARALLEL_CITIES) as pool:
        for each in found:
            if not in_time():
                break
            under_way.append(pool.submit(retire_city, source, each, rule, dry_run=dry_run, clock=clock))
            last = each.city
            if len(under_way) >= 2 * PARALLEL_CITIES:
                yield under_way.popleft().result()
        else:
            last, complete = "", True
        while under_way:
            yield under_way.popleft().result()
    if only is None and complete and in_time():
        yield from retire_cohorts(source, rule, dry_run=dry_run, clock=clock)
    if whole and last != after:
        body = json.dumps({"format_version": 1, "after": last}, indent=2) + "\n"
        source.objects.put(source.keys.retire_cursor(), body.encode())


def retire_city(
    source: InventorySource,
    found: CityObjects,
    rule: Rule,
    *,
    dry_run: bool = False,
    clock: Callable[[], datetime] = utc_now,
) -> CityReport:
    """Delete what a city needs no longer. An error of this city is reported, not raised."""
    try:
        return _retire(source, found, rule, dry_run, clock)
    except CityFleetError as error:
        return CityReport(found.city, problem=str(error), passes=aws_errors.is_passing(error))
    except (ClientError, BotoCoreError) as error:
        problem = f"city {found.city!r}: AWS failed: {error}"
        return CityReport(found.city, problem=problem, passes=aws_errors.is_passing(error))


def _retire(
    source: InventorySource, found: CityObjects, rule: Rule, dry_run: bool, clock: Callable[[], datetime]
) -> CityReport:
    s3, keys, city = source.s3, source.keys, found.city
    for _ in rounds(keys.uri(keys.retired(city))):
        marks, etag = retire_marks.read(s3, keys, city)
        now = clock()
        inventory = source.inventory(found, rule, now)
        plan = retire.plan(inventory, rule, marks, now)
        deletion = retire.deletion(inventory, plan.going, rule)
        marked = sum(marks.marked.get(unit) != mark for unit, mark in plan.marks.marked.items())
        report = CityReport(city, plan, deletion, marked)
        if dry_run:
            return report
        if plan.marks == marks or retire_marks.write(s3, keys, city, plan.marks, etag):
            break
        # A run or a command claimed a model, or another pass is at work: look again at what is needed.
    if plan.going:
        _refuse_what_serves(source, inventory, plan)
    _delete(source, deletion)
    if plan.going:
        retire_marks.update(s3, keys, city, lambda current: current.without(plan.going))
    return report


def _refuse_what_serves(source: InventorySource, inventory: Inventory, plan: Plan) -> None:
    """Look at the live pointer right before anything is deleted.

    Every move of the pointer claims the model first, so this finds only what was moved by hand or by an older version.

    :raises PointerMoved: it leads to something that is going; nothing is going then.
    """
    current = live.read(source.s3, source.keys, inventory.city)
    if current is None or retire_marks.model_unit(current.pointer.target_model) not in plan.going:
        return
    retire_marks.update(source.s3, source.keys, inventory.city, lambda marks: marks.without(plan.going))
    raise PointerMoved(
        f"city {inventory.city!r}: {current.pointer.target_model} was about to be retired and serves again; nothing "
        "of this city was deleted"
    )


def _delete(source: InventorySource, deletion: Deletion) -> None:
    """Delete versions first and runs last: what is left when it stops halfway is found again by what remains.

    :raises PlatformError: S3 refused some of it.
    """
    for arn in deletion.package_arns:
        registry.delete(source.sagemaker, arn)
    source.objects.delete_all([*deletion.model_keys, *deletion.run_keys, *deletion.known_keys])


def _cursor(source: InventorySource) -> str:
    """Return the city after which this pass begins; empty for the first one."""
    found = source.objects.get(source.keys.retire_cursor())
    try:
        return str(json_of(found.body)["after"]) if found else ""
    except (ValueError, KeyError, TypeError):
        return ""  # it only says where to begin
