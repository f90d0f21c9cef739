"""A real Prometheus that scrapes a server under test, and promtool; run_tests.sh unpacks Debian's package."""

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import requests
import yaml

from tests.support.paths import ROOT
from tests.support.server import free_port

FOLDERS = os.pathsep.join((os.environ.get("PATH", ""), str(ROOT / ".venv/prometheus/usr/bin")))
PROMETHEUS, PROMTOOL = (shutil.which(name, path=FOLDERS) for name in ("prometheus", "promtool"))
MISSING = "there is no prometheus (Debian: apt-get install prometheus)"
RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"
RULES_TEST = RULES.with_name("test_alerts.yml")
DASHBOARD = ROOT / "deploy" / "grafana" / "qwen-image-server.json"
NAMES = re.compile(r"\bqwen_image_server_\w+")
# Rates need two samples.
SCRAPES = 3
QUICK = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return found


def alerts() -> list[dict[str, Any]]:
    [group] = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def expressions() -> list[str]:
    """Return every expression of the dashboard and of the alerts."""
    of_panels = [target["expr"] for panel in panels() for target in panel["targets"]]
    return of_panels + [rule["expr"] for rule in alerts()]


def configure(folder: Path, target: str) -> None:
    """Write the configuration of a Prometheus with the rules of deploy/ for one server."""
    configuration = {
        "global": QUICK,
        "rule_files": [str(RULES)],
        "scrape_configs": [{"job_name": "server", "static_configs": [{"targets": [target]}]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))


class Prometheus:
    """A Prometheus on a free port with the configuration in a folder, which has scraped a server a few times."""

    def __init__(self, folder: Path) -> None:
        assert PROMETHEUS is not None
        self.url = f"http://127.0.0.1:{free_port()}"
        with (folder / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    PROMETHEUS, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
                    f"--web.listen-address={self.url.removeprefix('http://')}",
                ],
                stdout=log, stderr=log,
            )  # fmt: skip
        try:
            self._wait()
        except AssertionError as error:
            self.stop()
            raise AssertionError((folder / "prometheus.log").read_text()) from error

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the samples of an expression; fails where Prometheus refuses it."""
        answer = requests.get(f"{self.url}/api/v1/query", params={"query": expression}, timeout=10).json()
        assert answer["status"] == "success", f"{expression}: {answer}"
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def rules(self) -> list[dict[str, Any]]:
        groups = requests.get(f"{self.url}/api/v1/rules", timeout=10).json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)

    def _wait(self) -> None:
        """Wait until the server has been scraped a few times and every rule was evaluated."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            assert self._process.poll() is None
            try:
                scraped = self.query("count_over_time(qwen_image_server_up[1m])")
                judged = all(rule["health"] != "unknown" for rule in self.rules())
            except requests.RequestException:
                scraped, judged = [], False
            if judged and scraped and float(scraped[0]["value"][1]) >= SCRAPES:
                return
            time.sleep(0.1)
        raise AssertionError("Prometheus scraped nothing.")
