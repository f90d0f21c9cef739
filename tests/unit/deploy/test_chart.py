"""The Helm chart, rendered by Helm's own library: valid for Kubernetes, and what the image and the server expect."""

import json
import re

import pytest
import yaml

import imageserver
from imageserver.settings import Settings, variables_of
from tests.support.documented_commands import blocks_of
from tests.support.paths import ROOT

CHART = ROOT / "deploy" / "helm" / "qwen-image-server"
# Custom resources have no public schema here.
CUSTOM = {"ServiceMonitor", "PrometheusRule"}
# In which a node pulls the image, and a disk is made.
MIN_SECONDS_BEFORE_THE_START = 600
NOTES = "qwen-image-server/templates/NOTES.txt"
VALUES = {
    "keys": {"apiKeys": "ann:key-1\nbob:key-2", "metricsKey": "key-2\n"},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
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
    rendered = "\n---\n".join(text for name, text in chart.render(VALUES, name="images").items() if name != NOTES)
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
        [monitor] = of_kind(manifests, "ServiceMonitor").values()
        assert service["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "qwen-image-server", "as in alerts.yml"
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


def one_model(chart, **model):
    """Return the Pod and the environment of the only model, after the chart's own was left out with null."""
    keys = {"keys": {"apiKeys": "key-1"}, "runtimeClassName": "nvidia"}
    models = {"qwen-image": None, "mine": {"model": "demo", "storage": "1Gi", **model}}
    text = chart.render({**keys, "models": models}, name="images")["qwen-image-server/templates/deployment.yaml"]
    [deployment] = yaml.safe_load_all(text)
    pod = deployment["spec"]["template"]["spec"]
    names = [variable["name"] for variable in pod["containers"][0]["env"]]
    assert len(names) == len(set(names))
    return pod, {variable["name"]: variable["value"] for variable in pod["containers"][0]["env"]}


@pytest.mark.parametrize(("value", "text"), [(4194304, "4194304"), (0.5, "0.5"), (True, "true"), ("a,b", "a,b")])
def test_a_setting_arrives_as_it_was_written(chart, value, text):
    assert one_model(chart, settings={"MAX_PIXELS": value})[1]["MAX_PIXELS"] == text


@pytest.mark.parametrize(
    ("gpus", "settings", "devices"),
    [
        (0, {}, {}),
        (1, {}, {"DEVICE": "cuda"}),
        (2, {}, {"DEVICES": "auto"}),
        (2, {"DEVICES": "cuda:0+cuda:1"}, {"DEVICES": "cuda:0+cuda:1"}),
    ],
)
def test_every_card_that_a_model_gets_is_used_unless_its_settings_say_otherwise(chart, gpus, settings, devices):
    pod, environment = one_model(chart, gpus=gpus, settings=settings)
    assert {name: value for name, value in environment.items() if name.startswith("DEVICE")} == devices
    limits = (pod["containers"][0]["resources"] or {}).get("limits", {})
    assert limits.get("nvidia.com/gpu", 0) == gpus
    assert pod["runtimeClassName"] == "nvidia"


def test_links_may_begin_with_the_names_of_the_service_or_with_those_of_the_settings(chart):
    hosts = one_model(chart)[1]["ALLOWED_HOSTS"].split(",")
    assert hosts[0] == "images-mine"
    assert [host.partition(".")[0] for host in hosts] == ["images-mine"] * 4
    assert hosts[3].endswith(".svc.cluster.local")
    assert one_model(chart, settings={"ALLOWED_HOSTS": "images.example"})[1]["ALLOWED_HOSTS"] == "images.example"
    assert "ALLOWED_HOSTS" not in one_model(chart, settings={"ALLOWED_HOSTS": None})[1]


def test_secret_settings_come_from_a_secret(chart):
    pod, _ = one_model(chart, settingsSecret="tokens")
    assert pod["containers"][0]["envFrom"] == [{"secretRef": {"name": "tokens"}}]


def test_a_setting_that_is_a_list_is_refused(chart):
    with pytest.raises(Exception, match=r"models\.mine\.settings: API_KEYS must be one text"):
        one_model(chart, settings={"API_KEYS": ["a", "b"]})


@pytest.mark.parametrize("name", ["PORT", "GRACEFUL_TIMEOUT", "MODEL", "API_KEYS_FILE"])
def test_a_setting_that_the_chart_needs_for_itself_is_refused(chart, name):
    with pytest.raises(Exception, match=rf"models\.mine\.settings: {name} is set by the chart"):
        one_model(chart, settings={name: 8080})


@pytest.mark.parametrize("name", ["z_image", "z.image", "Z"])
def test_a_model_is_called_what_an_address_may_have(chart, name):
    model = {"model": "demo", "storage": "1Gi"}
    with pytest.raises(Exception, match="only small letters, digits and -"):
        chart.render({"keys": {"apiKeys": "key-1"}, "models": {name: model}}, name="images")


@pytest.mark.parametrize("nothing", [None, "", " \n"])
def test_without_a_key_nothing_is_installed_and_a_sentence_says_so(chart, nothing):
    with pytest.raises(Exception, match="without a key the server refuses to start"):
        chart.render({"keys": {"apiKeys": nothing}}, name="images")
    existing = chart.render({"keys": {"existingSecret": "mine"}}, name="images")
    assert "secretName: mine" in existing["qwen-image-server/templates/deployment.yaml"]


def test_a_key_of_digits_alone_is_refused_without_quotes_and_not_rounded(chart):
    with pytest.raises(Exception, match=r"keys\.apiKeys[^\0]*expected string"):
        chart.render({"keys": {"apiKeys": 1234567890123456}}, name="images")


def test_prometheus_gets_a_key_and_every_alert_and_only_where_it_is_asked_to(chart, manifests):
    [rules], [monitor] = (of_kind(manifests, kind).values() for kind in ("PrometheusRule", "ServiceMonitor"))
    assert rules["spec"] == yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))
    [keys] = of_kind(manifests, "Secret").values()
    assert keys["stringData"]["metrics-key"] == "key-2", "a file's last line ends, and a header may not have its end"
    assert rules["metadata"]["labels"] == monitor["metadata"]["labels"] == {"release": "prometheus"}
    for nothing in ("", "\n"):
        with pytest.raises(Exception, match=r"keys\.metricsKey: the server asks Prometheus for a key"):
            chart.render(VALUES | {"keys": {"apiKeys": "key-1", "metricsKey": nothing}}, name="images")
    for keys in ({"apiKeys": "key-1"}, {"apiKeys": "key-1", "metricsKey": None}):
        plain = "".join(chart.render({"keys": keys}, name="images").values())
        assert "monitoring.coreos.com" not in plain


def test_the_notes_have_commands_for_every_model_and_say_what_is_missing(chart, manifests):
    notes = chart.render(VALUES, name="images")[NOTES]
    for name in of_kind(manifests, "Deployment"):
        assert f"rollout status deployment/{name} " in notes
        assert f"port-forward service/{name} 5000:80" in notes
    assert "Nothing monitors it" not in notes
    assert "Nothing monitors it" in chart.render({"keys": {"apiKeys": "key-1"}}, name="images")[NOTES]


def test_a_first_download_is_no_failed_rollout(chart, manifests):
    notes = chart.render(VALUES, name="images")[NOTES]
    for name, deployment in of_kind(manifests, "Deployment").items():
        probe = deployment["spec"]["template"]["spec"]["containers"][0]["startupProbe"]
        deadline = deployment["spec"]["progressDeadlineSeconds"]
        assert deadline >= probe["periodSeconds"] * probe["failureThreshold"] + MIN_SECONDS_BEFORE_THE_START
        assert f"rollout status deployment/{name} --timeout {deadline}s" in notes


def documented(word):
    [block] = [block for block in blocks_of(ROOT / "docs" / "operations.md") if word in block.content]
    assert block.language == "yaml"
    return yaml.safe_load(block.content)


def test_the_documented_ingress_leads_to_the_service_and_is_valid(manifests):
    ingress = documented("kind: Ingress")
    [rule] = ingress["spec"]["rules"]
    service = rule["http"]["paths"][0]["backend"]["service"]
    assert service["name"] in of_kind(manifests, "Service")
    assert service["port"] == {"name": "http"}
    validate = pytest.importorskip("kubernetes_validate", reason="QIS_FULL=1 installs kubernetes-validate")
    validate.validate(ingress, validate.latest_version(), strict=True)


def test_the_documented_file_of_models_replaces_the_model_of_the_chart(chart):
    rendered = chart.render({"keys": {"apiKeys": "key-1"}} | documented("z-image-turbo"), name="images")
    [deployment] = yaml.safe_load_all(rendered["qwen-image-server/templates/deployment.yaml"])
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert {"name": "MODEL", "value": "z-image-turbo"} in container["env"]
    assert {"name": "MAX_PIXELS", "value": "4194304"} in container["env"]


def test_numbers_are_not_written_with_an_exponent_and_every_build_has_its_tag():
    settings = (CHART / "templates" / "_settings.tpl").read_text(encoding="utf-8")
    assert 'kindIs "float64" $value | ternary (toJson $value)' in settings, "where Helm is not installed"
    operations = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    lines = [line for line in operations.splitlines() if line.startswith("helm ")]
    assert [line for line in lines if "--set-string image.tag=$tag" not in line] == []


def test_the_chart_has_the_version_of_the_server():
    described = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert described["version"] == described["appVersion"] == imageserver.__version__
