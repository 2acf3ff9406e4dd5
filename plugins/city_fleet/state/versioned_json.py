"""One JSON object in S3 with a format version, read without trusting it. The Lambda carries this module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from city_fleet.errors import PlatformError, show_value
from city_fleet.state.objects import json_of

Value = TypeVar("Value")


@dataclass(frozen=True)
class Form:
    """The form of an object.

    :param version: its ``format_version``.
    :param most_bytes: how large it may be.
    :param says: what it says: ``which endpoints serve``.
    """

    version: int
    most_bytes: int
    says: str


def parse(body: bytes, where: str, form: Form, read: Callable[[Any], Value], advice: str) -> Value:
    """Read an object's bytes.

    :param where: its URI, for errors.
    :param read: makes of its JSON what it says. Raises ValueError, KeyError, TypeError or AttributeError where it
        says none of that.
    :param advice: what to do about one that can't be read, without the full stop.
    :raises PlatformError: they are no such object, or one of a newer format.
    """
    try:
        if len(body) > form.most_bytes:
            raise ValueError(f"it is larger than {form.most_bytes:,} bytes")
        value = json_of(body)
        if value["format_version"] != form.version:
            raise PlatformError(
                f"{where}: format_version is {show_value(value['format_version'])}, this version of City Fleet reads "
                f"{form.version}; upgrade it"
            )
        return read(value)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        wrong = f"it has no {error}" if isinstance(error, KeyError) else error
        raise PlatformError(f"{where}: does not say {form.says} ({wrong}). {advice}") from error
