"""Which fleet a file is about that can't be read as YAML, by its lines for fleet, environment, bucket and region.

Enough to find what was kept of the fleet in S3. Nothing else is ever taken from such a file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from city_fleet.config.mistakes import adapter
from city_fleet.config.open_form import resolved
from city_fleet.config.settings import FleetSettings
from city_fleet.config.yaml_reader import MAX_FILE_BYTES

_LINE = re.compile(
    rb"""^(fleet|environment|bucket|region)[ ]*:[ ]+("[^"]*"|'[^']*'|[^\s#][^#\r\n]*?)[ ]*(?:[ ]#.*)?\r?$""",
    re.MULTILINE,
)


@dataclass(frozen=True)
class TopLines:
    """What the top-level lines of a broken file say; each value is one that the field allows."""

    fleet: str
    environment: str
    bucket: str
    region: str


def read_top_lines(path: Path, environ: Mapping[str, str]) -> TopLines | None:
    """Return what the lines say, or None where one of them is missing, or is nothing that the field allows.

    :param environ: environment variables for ``${NAME}``.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES)
    except OSError:
        return None
    found = {key.decode(): value.decode(errors="replace") for key, value in reversed(_LINE.findall(content))}
    texts = [(text.strip("\"'"), text[0] in "\"'") for text in found.values()]
    values = dict(zip(found, resolved(texts, environ), strict=True))
    checked: dict[str, str] = {}
    for name in TopLines.__dataclass_fields__:
        # Of two lines the first counts; what is missing has the field's own default, if it has one.
        value = values.get(name, FleetSettings.model_fields[name].get_default())
        try:
            checked[name] = adapter(FleetSettings, name).validate_python(value)
        except ValidationError:
            return None
    return TopLines(**checked)
