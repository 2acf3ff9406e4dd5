"""cfn-lint finds nothing in the templates, by the resource types' schemas and its own rules, with none left out."""

from __future__ import annotations

import pytest

from city_fleet.config.forecasts_section import ForecastTables
from city_fleet.infrastructure import template
from tests.support.private_fleets import private, with_long_names


def test_cfn_lint_finds_nothing(subtests: pytest.Subtests) -> None:
    """Its informational rules too. What only names tell apart is looked at once."""
    from cfnlint import ManualArgs, lint  # seconds, for this one process of the tests alone

    catalog = {"forecasts": ForecastTables(catalog=True)}
    for fleet in (private(), with_long_names().model_copy(update=catalog)):
        with subtests.test(fleet=fleet.fleet):
            body = template.as_body(template.template(fleet))
            found = lint(body, config=ManualArgs(regions=["us-east-1", "eu-central-1"], include_checks=["I"]))
            assert [f"{each.rule.id} {each.message}" for each in found] == []
            broken = body.replace('"RetentionInDays":30', '"RetentionInDays":31', 1)
            assert lint(broken, config=ManualArgs(regions=["us-east-1"])), "it looks"
