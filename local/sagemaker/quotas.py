"""How many instances of a type the account may use for what: the account-level service limits.

Names, counting and wording follow Service Quotas and the errors of the real API: training jobs, spot training
jobs, processing jobs and endpoints have limits of their own for each instance type. The limits themselves are
the stand-in's own choice: generous, unless the settings name smaller ones.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping

from local.sagemaker.errors import ResourceLimitExceeded

TRAINING = "training job"
SPOT_TRAINING = "spot training job"
PROCESSING = "processing job"
ENDPOINT = "endpoint"
#: Instances that wait in a warm pool; they count as training jobs too. AWS's own default is 0 for many types.
WARM_POOL = "training warm pool"
TRANSFORM = "transform job"
USAGES = (TRAINING, SPOT_TRAINING, PROCESSING, ENDPOINT, WARM_POOL, TRANSFORM)

#: Who holds instances: kind and name of a job or an endpoint.
Holder = tuple[str, str]


def quota_name(instance_type: str, usage: str) -> str:
    """The quota's name, as Service Quotas lists it.

    :param instance_type: for example ``ml.m5.large``.
    :param usage: one of :data:`USAGES`.
    """
    return f"{instance_type} for {usage} usage"


class Quotas:
    """Counts the instances that are in use. Safe to use from many threads.

    :param limits: limit by quota name.
    :param default: limit of every other quota.
    """

    def __init__(self, limits: Mapping[str, int], default: int) -> None:
        self._limits = dict(limits)
        self._default = default
        self._lock = threading.Lock()
        self._held: dict[Holder, list[tuple[str, int]]] = {}

    def limit(self, name: str) -> int:
        """How many instances a quota allows.

        :param name: as :func:`quota_name` makes it.
        """
        return self._limits.get(name, self._default)

    def take(
        self, holder: Holder, instances: Iterable[tuple[str, int]], *, check: bool = True
    ) -> Callable[[], None]:
        """Use instances, besides those the holder uses already.

        :param holder: the job or endpoint.
        :param instances: quota names and numbers of instances.
        :param check: False to take them even beyond a limit.
        :return: gives back just these.
        :raises ResourceLimitExceeded: when a limit does not allow it; nothing is taken then.
        """
        wanted: dict[str, int] = {}
        for name, count in instances:
            wanted[name] = wanted.get(name, 0) + count
        with self._lock:
            for name, delta in wanted.items() if check else ():
                limit = self.limit(name)
                used = sum(count for held in self._held.values() for other, count in held if other == name)
                if used + delta > limit:
                    raise ResourceLimitExceeded(
                        f"The account-level service limit '{name}' is {limit} Instances, with current "
                        f"utilization of {used} Instances and a request delta of {delta} Instances. Please "
                        "use AWS Service Quotas to request an increase for this quota. If AWS Service Quotas "
                        "is not available, contact AWS support to request an increase for this quota."
                    )
            self._held.setdefault(holder, []).extend(wanted.items())

        def give_back() -> None:
            with self._lock:
                held = self._held.get(holder, [])
                for each in wanted.items():
                    if each in held:
                        held.remove(each)

        return give_back

    def keep(self, holder: Holder, instances: Iterable[tuple[str, int]]) -> None:
        """Use these instances and no others.

        :param holder: the job or endpoint.
        :param instances: quota names and numbers of instances.
        """
        with self._lock:
            self._held[holder] = list(instances)

    def release(self, holder: Holder) -> None:
        """Use no instances any more.

        :param holder: the job or endpoint.
        """
        with self._lock:
            self._held.pop(holder, None)
