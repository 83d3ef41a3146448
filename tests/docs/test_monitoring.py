"""The dashboard and the alerts use what there is, and say what to do."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from gateway.telemetry.declared import METRICS
from gateway.telemetry.kinds import Family, Histogram

ROOT = Path(__file__).parent.parent.parent
ALERTS = ROOT / "deploy" / "alerts.yml"
CASES = Path(__file__).parent / "alerts-test.yml"
DASHBOARD: dict[str, Any] = orjson.loads((ROOT / "deploy" / "grafana-dashboard.json").read_bytes())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
GRAPHS = [panel for panel in PANELS if panel["type"] != "row"]
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]
]

# tests/http/test_scrape.py sees that exactly these are on a real page.
SAMPLES: dict[str, Family] = {sample: metric for metric in METRICS for sample in metric.samples}
TARGETS = {"job", "instance"}
"""Labels that Prometheus adds."""

EXPRESSIONS = {
    **{
        f"{panel['id']} {panel['title']} {target['refId']}": target["expr"]
        for panel in GRAPHS
        for target in panel["targets"]
    },
    **{rule["alert"]: rule["expr"] for rule in RULES},
}


def promtool(*arguments: str) -> str:
    try:
        done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.fail("promtool is missing: install the Debian package prometheus (make debian-packages)")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_what_is_asked_for_exists(expression: str) -> None:
    """Each metric is one of ours, and each label that it is chosen by has that value."""
    used = re.findall(r"\b(slipway_\w+|up)\b(?:\{([^}]*)\})?", expression)
    assert used
    for sample, matchers in used:
        if sample == "up":
            continue
        metric = SAMPLES[sample]
        known = {**metric.labels, **({"le": ()} if isinstance(metric, Histogram) else {})}
        for label, is_pattern, value in re.findall(r'(\w+)=(~?)"([^"]*)"', matchers):
            if label in TARGETS:
                continue
            values = value.split("|") if is_pattern else [value]
            assert {*values} <= {*known[label]}, f"{sample} has no {label} like {value}"


@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_what_is_grouped_by_exists(expression: str) -> None:
    """Labels of ``by`` are those of some metric in the expression."""
    there = {"le", *TARGETS}.union(*(SAMPLES[name].labels for name in re.findall(r"\bslipway_\w+", expression)))

    for labels in re.findall(r"\bby \(([^)]*)\)", expression):
        assert {label.strip() for label in labels.split(",")} <= there


def test_every_metric_is_on_the_dashboard() -> None:
    """What is worth counting is worth looking at."""
    shown = {
        SAMPLES[name].name
        for panel in GRAPHS
        for target in panel["targets"]
        for name in re.findall(r"\bslipway_\w+", target["expr"])
    }

    assert shown == {metric.name for metric in METRICS}


def test_legends_name_labels_that_are_there() -> None:
    """A legend of a label that was summed away would be empty."""
    for panel in GRAPHS:
        for target in panel["targets"]:
            named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            grouped = {each.strip() for by in re.findall(r"\bby \(([^)]*)\)", target["expr"]) for each in by.split(",")}
            assert named == grouped - {"le"}, panel["title"]


def test_the_dashboard_has_the_shape_that_grafana_reads() -> None:
    """A new dashboard (no id), with a data source that is chosen where it is imported."""
    assert DASHBOARD["id"] is None
    assert (DASHBOARD["uid"], DASHBOARD["title"]) == ("slipway", "Slipway")
    assert isinstance(DASHBOARD["schemaVersion"], int)
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert [*variables] == ["datasource", "job", "instance"]
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    for panel in GRAPHS:
        assert panel["type"] in {"timeseries", "stat"}
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["fieldConfig"]["overrides"] == []
        for holder in (panel, *panel["targets"]):
            assert holder["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        references = [target["refId"] for target in panel["targets"]]
        assert len({*references}) == len(references) > 0
        used = set(re.findall(r"\$(\w+)", "".join(target["expr"] for target in panel["targets"])))
        assert used <= {*variables, "__rate_interval"}


def test_panels_do_not_cover_each_other() -> None:
    """Each has its place in the grid of 24 columns, and an id of its own."""
    taken: dict[tuple[int, int], str] = {}
    for panel in PANELS:
        place = panel["gridPos"]
        assert 0 <= place["x"] < place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    assert [panel["gridPos"]["y"] for panel in PANELS] == sorted(panel["gridPos"]["y"] for panel in PANELS)


def test_the_dashboard_asks_in_proper_promql(tmp_path: Path) -> None:
    """Prometheus' own tool reads each expression, with values in the place of Grafana's variables."""
    rules = [
        {
            "record": f"panel:{number}",
            "expr": expression.replace("$__rate_interval", "5m").replace("$job", ".+").replace("$instance", ".+"),
        }
        for number, expression in enumerate(EXPRESSIONS.values())
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}), encoding="utf-8")

    assert f"{len(EXPRESSIONS)} rules found" in promtool("check", "rules", str(file))


def test_alerts_are_proper_rules() -> None:
    """As Prometheus' own tool says."""
    assert f"{len(RULES)} rules found" in promtool("check", "rules", str(ALERTS))


def test_alerts_fire_when_they_should() -> None:
    """On made-up days: one like all others, and some on which things fail."""
    promtool("test", "rules", str(CASES))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_alerts_say_what_to_do(rule: dict[str, Any]) -> None:
    """Each has a severity, a sentence about what is, and sentences about what to do first."""
    assert rule["alert"].startswith("Slipway")
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert set(rule["annotations"]) == {"summary", "runbook"}
    for text in rule["annotations"].values():
        assert text.endswith(".")
        assert "\n" not in text


def test_commands_of_runbooks_exist() -> None:
    """What an operator is told to run is a command."""
    told = {words for rule in RULES for words in re.findall(r"\bslipway ([a-z]+)", rule["annotations"]["runbook"])}

    documented = (ROOT / "docs" / "management.md").read_text(encoding="utf-8")
    assert told
    assert [command for command in told - {"serve"} if f"`slipway {command}" not in documented] == []
