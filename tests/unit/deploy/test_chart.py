"""The Helm chart, rendered by Helm's own library: valid for Kubernetes, and what the image and the server expect."""

import json
import re

import pytest
import yaml

import imageserver
from imageserver.settings import Settings, variables_of
from tests.support.paths import ROOT

CHART = ROOT / "deploy" / "helm" / "qwen-image-server"
# Custom resources have no public schema here.
CUSTOM = {"ServiceMonitor"}
VALUES = {
    "keys": {"apiKeys": "ann:key-1\nbob:key-2", "metricsKey": "key-2"},
    "serviceMonitor": {"enabled": True},
    "models": {"demo": {"model": "demo", "gpus": 0, "storage": "10Gi", "settings": {"MAX_QUEUE": 8, "OFFLINE": True},
                        "resources": {"requests": {"cpu": 1}, "limits": {"memory": "4Gi"}}}},
}  # fmt: skip


@pytest.fixture(scope="module")
def chart():
    return pytest.importorskip("helm_python.chart", reason="Helm is not installed; QIS_FULL=1 installs it").Chart.load(
        str(CHART)
    )


@pytest.fixture(scope="module")
def manifests(chart):
    rendered = "\n---\n".join(chart.render(VALUES, name="images").values())
    return [manifest for manifest in yaml.safe_load_all(rendered) if manifest]


def of_kind(manifests, kind):
    return {manifest["metadata"]["name"]: manifest for manifest in manifests if manifest["kind"] == kind}


def test_every_manifest_is_valid_for_kubernetes(manifests):
    validate = pytest.importorskip("kubernetes_validate", reason="QIS_FULL=1 installs kubernetes-validate")
    kinds = {manifest["kind"] for manifest in manifests}
    assert kinds == {"Deployment", "Service", "PersistentVolumeClaim", "PodDisruptionBudget", "Secret"} | CUSTOM
    for manifest in manifests:
        if manifest["kind"] not in CUSTOM:
            validate.validate(manifest, validate.latest_version(), strict=True)


def test_every_model_has_its_own_server_service_disk_and_budget(manifests):
    names = {"images-qwen-image", "images-demo"}
    for kind in ("Deployment", "Service", "PersistentVolumeClaim", "PodDisruptionBudget"):
        assert set(of_kind(manifests, kind)) == names
    for name, service in of_kind(manifests, "Service").items():
        pod = of_kind(manifests, "Deployment")[name]["spec"]["template"]
        budget = of_kind(manifests, "PodDisruptionBudget")[name]
        selector = service["spec"]["selector"]
        assert selector.items() <= pod["metadata"]["labels"].items()
        assert budget["spec"]["selector"]["matchLabels"] == selector
        assert pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] == name


def containers(manifests):
    pods = {name: each["spec"]["template"]["spec"] for name, each in of_kind(manifests, "Deployment").items()}
    return {name: (pod, pod["containers"][0]) for name, pod in pods.items()}


def test_only_a_model_that_wants_cards_gets_them(manifests):
    limits = {name: container["resources"]["limits"] for name, (_, container) in containers(manifests).items()}
    assert limits["images-qwen-image"]["nvidia.com/gpu"] == 1
    assert "nvidia.com/gpu" not in limits["images-demo"]


def test_a_server_gets_its_settings_its_volumes_and_the_time_to_end(manifests):
    known = {name for field in Settings.model_fields for name in variables_of(field)}
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    volumes = set(json.loads(re.search(r"^VOLUME (.*)$", dockerfile, re.M)[1]))
    for pod, container in containers(manifests).values():
        settings = {variable["name"]: variable["value"] for variable in container["env"]}
        assert set(settings) <= known
        assert Settings(_env_file=None, **{name.lower(): value for name, value in settings.items()}).asks_for_keys
        assert {mount["mountPath"] for mount in container["volumeMounts"]} >= volumes | {"/tmp", "/keys"}
        assert pod["terminationGracePeriodSeconds"] > int(settings["GRACEFUL_TIMEOUT"])
        probes = [container[name]["httpGet"]["path"] for name in ("startupProbe", "readinessProbe", "livenessProbe")]
        assert probes == ["/readyz", "/readyz", "/livez"]


def test_without_a_key_nothing_is_installed_and_a_sentence_says_so(chart):
    with pytest.raises(Exception, match="without a key the server refuses to start"):
        chart.render({}, name="images")
    existing = chart.render({"keys": {"existingSecret": "mine"}}, name="images")
    assert "secretName: mine" in existing["qwen-image-server/templates/deployment.yaml"]


def test_the_chart_has_the_version_of_the_server():
    described = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert described["version"] == described["appVersion"] == imageserver.__version__
