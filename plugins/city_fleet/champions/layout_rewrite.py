"""What the layout of before says of itself, in words of today's: keys, URIs and ARNs. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from city_fleet import naming
from city_fleet.naming import Keys
from city_fleet.state import installation, old_layout, registry
from city_fleet.state.objects import json_of

#: In the place of the number of a version that was deleted before it could be moved. No version has it.
NO_VERSION = 0


@dataclass(frozen=True)
class Rewrite:
    """How keys, URIs and ARNs of one city are called today.

    :param arns: ARN of a version of before → its ARN today.
    """

    keys: Keys
    city: str
    arns: Mapping[str, str] = field(default_factory=dict)

    def key(self, key: str) -> str:
        """Return today's key of an object: ``<fleet>/live/…`` is ``<fleet>/<environment>/live/…``."""
        return self.keys.prefix + key.removeprefix(f"{self.keys.fleet}/")

    def text(self, text: str) -> str:
        """Return a text with today's URIs and ARNs; one that has them already stays."""
        folders = "|".join(old_layout.FOLDERS)
        home = re.escape(self.keys.uri(f"{self.keys.fleet}/"))
        text = re.sub(rf"{home}(?=({folders})/)", lambda _: self.keys.uri(self.keys.prefix), text)
        group = re.escape(old_layout.old_package_group(self.keys, self.city))
        return re.sub(rf"arn:aws[\w-]*:sagemaker:[\w-]+:\d+:model-package/{group}/\d+", self._arn, text)

    def _arn(self, match: re.Match[str]) -> str:
        today = naming.package_group(self.keys.fleet, self.keys.environment, self.city)
        gone = f"{match[0].rsplit('/', 2)[0]}/{today}/{NO_VERSION}"
        return self.arns.get(match[0], gone)

    def value(self, value: Any) -> Any:
        """Return JSON data with today's URIs, ARNs, version numbers and environment."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.value(each) for each in value]
        if not isinstance(value, dict):
            return value
        after = {name: self.value(each) for name, each in value.items()}
        arn = after.get("package_arn")
        if isinstance(arn, str) and arn != value["package_arn"] and "package_version" in value:
            after["package_version"] = registry.version_of(arn)
        return after

    def document(self, body: bytes, *, stamped: bool = False) -> bytes:
        """Return the bytes of a JSON object as they stand today; what is not JSON stays.

        :param stamped: say whose it is.
        """
        try:
            value = self.value(json_of(body))
        except ValueError:
            return body
        if stamped and isinstance(value, dict):
            value |= installation.stamp(self.keys)
        return (json.dumps(value, indent=2) + "\n").encode()
