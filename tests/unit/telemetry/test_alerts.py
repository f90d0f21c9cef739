"""The alerts and the dashboard fit the metrics that there are."""

import subprocess

import pytest
import yaml

from imageserver.telemetry.metrics import PREFIX
from tests.support.paths import ROOT
from tests.support.prometheus import MISSING, PROMTOOL, RULES, RULES_TEST, alerts, panels

with_promtool = pytest.mark.skipif(PROMTOOL is None, reason=MISSING)


def promtool(*arguments: object) -> None:
    done = subprocess.run([str(PROMTOOL), *map(str, arguments)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr


@with_promtool
def test_promtool_finds_the_alerts_in_order():
    promtool("check", "rules", RULES)


@with_promtool
def test_every_alert_fires_in_trouble_and_is_silent_at_work():
    promtool("test", "rules", RULES_TEST)


def test_every_alert_is_tried_in_trouble_and_at_work_and_explained():
    names = {rule["alert"] for rule in alerts()}
    page = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    for group in yaml.safe_load(RULES_TEST.read_text(encoding="utf-8"))["tests"]:
        assert {each["alertname"] for each in group["alert_rule_test"]} == names
    assert [name for name in names if f"| `{name}` |" not in page] == []


def test_the_dashboard_has_twelve_panels_and_none_of_them_overlap():
    places = [tuple(panel["gridPos"][side] for side in "xy") for panel in panels()]
    assert len(places) == len(set(places)) == 12
    assert all(PREFIX in target["expr"] for panel in panels() for target in panel["targets"])
