"""No text of a fleet file is rendered by Airflow, and none is markup where Airflow shows Markdown."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import markdown_it
import pytest
import yaml
from airflow.sdk import BaseNotifier
from airflow.sdk.exceptions import AirflowFailException
from airflow.serialization.serialized_objects import DagSerialization

from city_fleet.config import load_fleet
from city_fleet.config.digest_section import NOTIFIERS_VARIABLE
from city_fleet.errors import FleetFileError
from city_fleet.orchestration.city_dags import city_dags
from city_fleet.orchestration.fleet_dags import fleet_dags
from city_fleet.orchestration.fleet_tasks.digest_operators import NotifyOperator, send
from tests.support.fleets import SMALL

MARKERS = ("{{ conn.door.password }}", "{% set x = conn.door.password %}", "{{ var.value.key }}")
FULL: dict[str, Any] = {
    **yaml.safe_load(SMALL),
    "environment": "demo", "region": "us-east-1", "owner": "ann", "tags": ["x"], "schedule": "@daily",
    "defaults": {"algorithm": {"version": "3.2-0", "hyperparameters": {"objective": "reg:squarederror"}},
                 "scripts": "include/scripts", "approval": "manual", "training": {"instance_type": "ml.m5.large"},
                 "processing": {"instance_type": "ml.m5.large"}},
    "endpoint": {"name": "e", "instance_type": "ml.m5.large", "image": "managed", "scripts": "include/scripts"},
    "pools": {"jobs": "p"}, "reaper": {"schedule": "@daily"}, "retire": {"schedule": "@daily"},
    "digest": {"schedule": "@daily", "notifiers": [
        {"notifier": "airflow.providers.amazon.aws.notifications.sns.SnsNotifier",
         "arguments": {"target_arn": "a", "subject": "s", "message": "m"}}]},
    "cities": {"a": {"name": "Alpha"}, "b": {"name": "Beta", "approval": "auto", "owner": "bob"}},
}  # fmt: skip
FULL["dataset"] |= {"source": "x.csv", "features": [{"column": "w", "lags": [1]}]}
FULL["dataset"]["time"] = {"columns": ["day"], "format": "%Y-%m-%d"}


def texts(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every text of a fleet file."""
    if isinstance(node, dict | list):
        for key, child in node.items() if isinstance(node, dict) else enumerate(node):
            yield from texts(child, (*path, key))
    elif isinstance(node, str):
        yield path


def replaced(data: Any, path: tuple[Any, ...], text: str) -> Any:
    """Return a fleet file's data with another text at a path."""
    changed = node = copy.deepcopy(data)
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = text
    return changed


def poisoned(folder: Path) -> tuple[Path, set[str]]:
    """Write the file with a marker in every text that takes one, and return it with the fields that do."""
    folder.mkdir(exist_ok=True)
    path = folder / "full.yaml"
    data, taken = FULL, set()
    for field in texts(FULL):
        for marker in (*MARKERS, f"%Y {MARKERS[0]}"):
            changed = replaced(data, field, marker)
            path.write_text(yaml.safe_dump(changed, allow_unicode=True), encoding="utf-8")
            try:
                good = not load_fleet(path, {}).errors
            except FleetFileError:
                good = False
            if good:
                data = changed
                taken.add(".".join(map(str, field)))
                break
    path.write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8")
    return folder, taken


def held(value: Any) -> Iterator[str]:
    """Yield every text that a template field holds, at any depth."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield from (*held(key), *held(child))
    elif isinstance(value, list | tuple | set | frozenset):
        for child in value:
            yield from held(child)
    elif hasattr(value, "template_fields"):
        for name in value.template_fields:
            yield from held(getattr(value, name, None))
    else:
        yield value if isinstance(value, str) else repr(value)


class Door:
    """What a template finds behind ``conn`` and ``var``: whatever is asked for, it is the secret."""

    def __getattr__(self, name: str) -> Any:
        return "0pen-sesame" if name in ("password", "key") else self


def test_no_template_field_of_any_task_holds_text_of_a_fleet_file(tmp_path: Path) -> None:
    folder, taken = poisoned(tmp_path / "fleets")
    assert taken >= {"cities.a.name", "dataset.city_column", "dataset.target.column", "dataset.source",
                     "defaults.algorithm.hyperparameters.objective", "dataset.features.0.column",
                     "digest.notifiers.0.arguments.message"}  # fmt: skip
    assert not taken & {"region", "bucket", "role", "owner", "pools.jobs", "endpoint.name", "endpoint.image"}
    dags = [*city_dags(folder), *fleet_dags(folder)]
    assert {dag.dag_id for dag in dags} == {
        "small.a", "small.b", *(f"small._{each}" for each in ("digest", "endpoint", "reaper", "reconcile", "retire"))
    }  # fmt: skip
    kinds = set()
    for dag in dags:
        DagSerialization.to_dict(dag)
        for task in dag.tasks:
            kinds.add(task.task_id)
            for field in task.template_fields:
                for text in held(getattr(task, field, None)):
                    assert not any(word in text for word in ("conn.", "{%", "var.")), (task, field)
            context: Any = {
                "conn": Door(),
                "var": Door(),
                "ti": _Pulled(),
                "params": {},
                "dag": dag,
                "task": task,
            }
            task.render_template_fields(context)
            shown = {name: value for name, value in vars(task).items() if name != "dag"}
            assert "0pen-sesame" not in repr(shown), task
    assert kinds >= {
        "approve",
        "notify_1",
        "preprocess",
        "register",
        "gate",
        "publish",
        "reap",
        "model",
        "endpoint",
    }


class _Pulled:
    state = "running"

    def xcom_pull(self, **_: Any) -> dict[str, bool]:
        return {"proceed": True}


class Recording(BaseNotifier):
    """Keeps what it was rendered to and called with."""

    template_fields = ("text",)
    seen: list[tuple[str, dict[str, Any]]] = []  # noqa: RUF012 - of the test alone

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def notify(self, context: Any) -> None:
        self.seen.append((self.text, dict(context)))


def test_a_notifier_is_rendered_with_the_digest_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NOTIFIERS_VARIABLE, f"another.package, {__name__}")
    path, message = (
        f"{__name__}.Recording",
        {"subject": "s", "text": "{{ conn.door.password }}", "counts": {"failed": 2}},
    )
    Recording.seen.clear()

    class Task:
        def xcom_pull(self, task_ids: str) -> dict[str, Any]:
            return message

    arguments = {"text": "{{ digest.subject }} {{ digest.counts.failed }} {{ digest.text }}"}
    operator = NotifyOperator(task_id="notify_1", notifier=path, arguments=arguments)
    operator.execute({"ti": Task(), "conn": Door(), "var": Door()})  # type: ignore[typeddict-item, arg-type]
    ((text, context),) = Recording.seen
    assert text == "s 2 {{ conn.door.password }}", "what others have written is not rendered again"
    assert set(context) == {"digest", "text"}
    for template in ("{{ conn.door.password }}", "{{ ''.__class__.__mro__ }}", "{{ var.value.key }}"):
        with pytest.raises(AirflowFailException, match="can't be rendered"):
            send(path, {"text": template}, message)
    assert len(Recording.seen) == 1


def test_only_what_the_installation_allows_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil_notifier.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    (tmp_path / "my_notifiers_evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(NOTIFIERS_VARIABLE, "my_notifiers")
    message = {"subject": "s", "text": "t"}
    for path in (
        "evil_notifier.Notifier",
        "my_notifiers_evil.Notifier",
        "airflow.providers_evil.N",
        "os.system",
    ):
        with pytest.raises(AirflowFailException, match=f"allowed: a class below .*{NOTIFIERS_VARIABLE}"):
            send(path, {}, message)
    assert not (tmp_path / "ran").exists()
    # Names of other modules, found within one that is allowed.
    inside = ModuleType("my_notifiers")
    inside.Recording = Recording  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "my_notifiers", inside)
    with pytest.raises(AirflowFailException, match=r"test_fleet_text\.Recording"):
        send("my_notifiers.Recording", {"text": "t"}, message)
    smtp = "airflow.providers.smtp.notifications.smtp.SmtpNotifier"
    for name in ("files", "template"):
        with pytest.raises(AirflowFailException, match="reads a file of the host"):
            send(smtp, {"to": "ann@example.org", name: "/etc/passwd"}, message)
    with pytest.raises(AirflowFailException, match="not a subclass"):
        send("airflow.providers.http.hooks.http.HttpHook", {}, message)


def test_lint_refuses_a_notifier_that_would_not_be_imported(tmp_path: Path) -> None:
    path = tmp_path / "full.yaml"
    smtp = "airflow.providers.smtp.notifications.smtp.SmtpNotifier"
    for entry, field in (
        ({"notifier": "os.path.Notifier"}, "digest.notifiers[0].notifier"),
        ({"notifier": smtp, "arguments": {"files": ["/x"]}}, "digest.notifiers[0].arguments.files"),
    ):
        path.write_text(yaml.safe_dump({**FULL, "digest": {"notifiers": [entry]}}), encoding="utf-8")
        with pytest.raises(FleetFileError) as caught:
            load_fleet(path, {})
        assert [error.field for error in caught.value.errors] == [field]


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "[x](javascript:alert(1))", "javascript:alert(1)",
        "**x** `y` # z", "http://evil.example <b>",
        "![x](http://evil.example/x.png)", "a | b\u202e\x85c", "www.evil.example",
    ],
)  # fmt: skip
def test_markup_in_a_name_is_text_in_a_dags_documentation(tmp_path: Path, name: str) -> None:
    data = replaced(FULL, ("cities", "a", "name"), name)
    (tmp_path / "full.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    (dag,) = city_dags(tmp_path, only="small.a")
    page = markdown_it.MarkdownIt("gfm-like", {"html": True, "linkify": False})
    html = page.render(dag.doc_md or "")
    for forbidden in ("<script", "<img", "<a ", "onerror=alert(1)>", "\u202e", "\x85", "<h1"):
        assert forbidden not in html, html
    assert html.count("<strong>") == 3  # the name, and two commands
    assert "\u202e" not in str(dag.description)


def test_a_mistake_that_quotes_markup_is_text_too(tmp_path: Path) -> None:
    data = replaced(FULL, ("cities", "a", "schedule"), "```\n<img src=x onerror=alert(1)> [x](javascript:1)")
    (tmp_path / "full.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    (dag,) = city_dags(tmp_path, only="small.a")
    html = markdown_it.MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(dag.doc_md or "")
    assert "<img" not in html
    assert "<a " not in html
    assert "onerror" in html, "it is shown, as text"


def test_a_dags_texts_hold_nothing_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("CITY_FLEET_BUCKET", "CITY_FLEET_ENVIRONMENT", "CITY_FLEET_ROLE")
    data = {
        **FULL,
        "bucket": f"${{{names[0]}}}",
        "environment": f"${{{names[1]}}}",
        "role": f"${{{names[2]}}}",
    }
    data["cities"] = {"a": {"name": f"At ${{{names[0]}}}"}}
    (tmp_path / "full.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    monkeypatch.setenv(names[0], "hush")
    monkeypatch.setenv(names[1], "rehearsal")
    # Not the name of the environment: each DAG has it as a tag, so that nobody takes a rehearsal for production.
    monkeypatch.setenv(names[2], "arn:aws:iam::123456789012:role/hush")
    dags = [*city_dags(tmp_path), *fleet_dags(tmp_path)]
    assert len(dags) == 6
    for dag in dags:
        kept = json.dumps([dag.description, dag.doc_md, sorted(dag.tags)])
        assert "hush" not in kept, dag.dag_id
    assert dags[0].description == "Retrain At ${CITY_FLEET_BUCKET}"
