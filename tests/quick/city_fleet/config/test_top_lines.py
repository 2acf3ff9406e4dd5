"""Of a file that can't be read: which fleet it is about."""

from __future__ import annotations

from pathlib import Path

import pytest

from city_fleet.config.top_lines import TopLines, read_top_lines

ENVIRON = {"CITY_FLEET_ENVIRONMENT": "staging", "CITY_FLEET_BUCKET": "my-bucket"}
GOOD = TopLines("bikes", "staging", "my-bucket", "us-east-1")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("fleet: bikes\nenvironment: staging\nbucket: my-bucket\ncities:\n\tx: {}\n", GOOD),
        ("# fleet: no\nfleet: bikes # yes\nenvironment: 'staging'\r\nbucket: \"my-bucket\"\n{{{", GOOD),
        (
            "fleet: bikes\nenvironment: ${CITY_FLEET_ENVIRONMENT:-laptop}\nbucket: ${CITY_FLEET_BUCKET}\n[",
            GOOD,
        ),
        (
            "fleet: bikes\nbucket: my-bucket\nregion: eu-west-1\n",
            TopLines("bikes", "laptop", "my-bucket", "eu-west-1"),
        ),
        ("fleet: bikes\nfleet: other\nenvironment: staging\nbucket: my-bucket\n", GOOD),
        ("defaults:\n  fleet: bikes\nbucket: my-bucket\n", None),
        ("fleet: bikes\n", None),
        ("fleet: ../etc\nbucket: my-bucket\n", None),
        ("fleet: bikes\nbucket: ${UNKNOWN}\n", None),
        ("fleet: bikes\nbucket: my/bucket\n", None),
        ("fleet: bikes\nbucket: my-bucket\nregion: nowhere\n", None),
        ("", None),
        ("fleet: \xff\nbucket: my-bucket\n", None),
    ],
)
def test_what_is_found(tmp_path: Path, text: str, found: TopLines | None) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_bytes(text.encode("latin-1"))
    assert read_top_lines(path, ENVIRON) == found


def test_a_file_that_is_gone_says_nothing(tmp_path: Path) -> None:
    assert read_top_lines(tmp_path / "gone.yaml", {}) is None
