"""Points in time: those of documents, those of requests, and texts that sort like them."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> datetime:
    """The time, as documents hold it: milliseconds, UTC."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def parse(text: str) -> datetime:
    """Read a date and time in ISO 8601; one without a time zone is in UTC.

    :raises ValueError: if it is none.
    """
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def sortable(moment: datetime) -> str:
    """A text of the same order as the point in time."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
