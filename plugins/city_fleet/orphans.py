"""Which jobs nobody waits for any more. Pure.

A task waits for its job in many states: while a worker runs it, while it is deferred, between two tries. Only a
state that a task does not leave by itself says that its job has become an orphan.
"""

from __future__ import annotations

#: States in which a task instance may still come back for its job.
WAITING = frozenset(
    {"running", "deferred", "queued", "scheduled", "up_for_retry", "up_for_reschedule", "restarting"}
)
#: States that a task instance leaves only when a person clears it.
ENDED = frozenset({"success", "failed", "upstream_failed", "skipped", "removed"})
#: A person cleared the task while a worker was running it; its next try starts a job of its own.
RESTARTING = "restarting"
