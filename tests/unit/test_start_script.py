"""The set-up helper behind both start scripts, and what the scripts and requirement files promise."""

import ast
import re
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.paths import ROOT
from tools import setup_environment

ENGINE = ("project", "optional-dependencies", "engine")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Give the helper a project of its own, without the settings of this machine."""
    for name in ("requirements.txt", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv").mkdir()
    monkeypatch.setattr(setup_environment, "ROOT", tmp_path)
    monkeypatch.setattr(setup_environment, "ENVIRONMENT", tmp_path / ".venv")
    for name in ("TORCH_INDEX_URL", "CLUSTER"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def machine(project, monkeypatch):
    """Pretend to be some machine: `machine(platform, gpu=…, offers_cpu_build=…)`."""

    def pretend(platform, *, gpu, offers_cpu_build=False):
        monkeypatch.setattr(sys, "platform", platform)
        monkeypatch.setattr(setup_environment, "has_nvidia_gpu", lambda: gpu)
        monkeypatch.setattr(setup_environment, "pip", lambda *arguments, quiet=False: offers_cpu_build)

    return pretend


def requirements(name):
    """Return the requirements of a file."""
    lines = (line.strip() for line in (ROOT / name).read_text().splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def imported(file):
    """Return the packages that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.partition(".")[0]


def test_linux_without_a_gpu_takes_the_cpu_build_and_says_why(machine):
    machine("linux", gpu=False, offers_cpu_build=True)
    arguments, needed, reason = setup_environment.choose_torch("torch==2.13.0")
    assert arguments == ["torch==2.13.0+cpu"]
    assert needed == setup_environment.CPU_GIGABYTES
    assert reason == "the CPU build, because no NVIDIA GPU was found"


def test_linux_with_a_gpu_takes_the_cuda_build_and_more_space(machine):
    machine("linux", gpu=True, offers_cpu_build=True)
    arguments, needed, reason = setup_environment.choose_torch("torch==2.13.0")
    assert arguments == ["torch==2.13.0"]
    assert needed == setup_environment.CUDA_GIGABYTES
    assert "NVIDIA GPU was found" in reason


def test_linux_whose_index_has_no_cpu_build_says_how_to_avoid_the_large_one(machine):
    machine("linux", gpu=False, offers_cpu_build=False)
    arguments, needed, reason = setup_environment.choose_torch("torch==2.13.0")
    assert arguments == ["torch==2.13.0"]
    assert needed == setup_environment.CUDA_GIGABYTES
    assert "TORCH_INDEX_URL" in reason


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_other_systems_take_the_build_that_their_index_offers(machine, platform):
    machine(platform, gpu=False)
    assert setup_environment.choose_torch("torch==2.13.0")[:2] == (["torch==2.13.0"], setup_environment.CPU_GIGABYTES)


def test_windows_with_a_gpu_says_how_to_get_the_cuda_build(machine):
    machine("win32", gpu=True)
    assert "TORCH_INDEX_URL" in setup_environment.choose_torch("torch==2.13.0")[2]


def test_torch_index_url_is_used_for_torch(machine, monkeypatch):
    machine("linux", gpu=False)
    monkeypatch.setenv("TORCH_INDEX_URL", "https://wheels.example/cpu")
    arguments = setup_environment.choose_torch("torch==2.13.0")[0]
    assert arguments == ["--index-url", "https://wheels.example/cpu", "torch==2.13.0"]


def test_torch_index_url_is_read_from_dotenv_and_the_environment_wins(project, monkeypatch):
    assert setup_environment.setting("TORCH_INDEX_URL") == ""
    (project / ".env").write_text('PORT=5001\nTORCH_INDEX_URL="https://wheels.example/dotenv"\n')
    assert setup_environment.setting("TORCH_INDEX_URL") == "https://wheels.example/dotenv"
    monkeypatch.setenv("TORCH_INDEX_URL", "https://wheels.example/environment")
    assert setup_environment.setting("TORCH_INDEX_URL") == "https://wheels.example/environment"


def test_a_full_disk_is_one_sentence_that_names_both_sizes(project, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1.2e9))
    with pytest.raises(SystemExit) as refusal:
        setup_environment.require_space(2.5)
    assert str(refusal.value).startswith("Not enough disk space: the installation needs 2.5 GB, and 1.2 GB are free")
    assert "\n" not in str(refusal.value)
    setup_environment.require_space(1.0)


def test_the_stamp_follows_the_requirement_files_but_not_their_line_ends(project):
    before = setup_environment.core_stamp()
    constraints = project / "constraints.txt"
    constraints.write_bytes(constraints.read_bytes().replace(b"\n", b"\r\n"))
    assert setup_environment.core_stamp() == before
    constraints.write_bytes(constraints.read_bytes() + b"another==1.0\r\n")
    assert setup_environment.core_stamp() != before


def test_the_stamp_of_the_tests_follows_their_group_and_nothing_else_of_pyproject(project):
    before, pyproject = setup_environment.development_stamp(), project / "pyproject.toml"
    text = pyproject.read_text()
    pyproject.write_text(text + "\n[tool.other]\nx = 1\n")
    assert setup_environment.development_stamp() == before
    pyproject.write_text(text.replace('"pytest==', '"pytest==1.'))
    assert setup_environment.development_stamp() != before


def test_a_new_stamp_replaces_the_old_one_of_its_kind_only(project):
    environment = project / ".venv"
    (environment / ".installed-core-old").touch()
    (environment / ".installed-dev-old").touch()
    setup_environment.finish(setup_environment.core_stamp(), "core")
    names = {path.name for path in environment.iterdir()}
    assert names == {setup_environment.core_stamp().name, ".installed-dev-old"}
    assert setup_environment.main(["--check"]) == 0


def test_a_server_of_a_cluster_needs_ray_too_wherever_its_setting_is(project, monkeypatch):
    setup_environment.finish(setup_environment.core_stamp(), "core")
    assert setup_environment.main(["--check"]) == 0
    (project / ".env").write_text("CLUSTER=head\n")
    assert setup_environment.main(["--check"]) == 1
    (project / ".env").unlink()
    monkeypatch.setenv("CLUSTER", "10.0.0.5:6379")
    assert setup_environment.main(["--check"]) == 1
    setup_environment.finish(setup_environment.extra_stamp("cluster"), "cluster")
    assert setup_environment.main(["--check"]) == 0


def test_images_in_s3_need_its_package_and_a_folder_needs_none(project, monkeypatch):
    setup_environment.finish(setup_environment.core_stamp(), "core")
    monkeypatch.setenv("OUTPUT_URL", "file:///srv/images")
    assert setup_environment.main(["--check"]) == 0
    monkeypatch.setenv("OUTPUT_URL", "s3://bucket/images")
    assert setup_environment.main(["--check"]) == 1
    setup_environment.finish(setup_environment.extra_stamp("s3"), "s3")
    assert setup_environment.main(["--check"]) == 0


def test_traces_need_their_packages(project, monkeypatch):
    setup_environment.finish(setup_environment.core_stamp(), "core")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    assert setup_environment.main(["--check"]) == 1
    setup_environment.finish(setup_environment.extra_stamp("otel"), "otel")
    assert setup_environment.main(["--check"]) == 0


def test_manifests_need_their_packages(project, monkeypatch):
    setup_environment.finish(setup_environment.core_stamp(), "core")
    monkeypatch.setenv("C2PA_CERT", "cert.pem")
    assert setup_environment.main(["--check"]) == 1
    setup_environment.finish(setup_environment.extra_stamp("c2pa"), "c2pa")
    assert setup_environment.main(["--check"]) == 0


def test_the_slow_modes_need_more_packages(project, monkeypatch):
    before = setup_environment.development_stamp()
    monkeypatch.setenv("QIS_FULL", "1")
    assert setup_environment.development_stamp() != before


def test_a_package_whose_installation_was_interrupted_is_forgotten(project, monkeypatch):
    for name, files in {"whole": ["METADATA", "INSTALLER"], "half": ["METADATA"]}.items():
        record = project / f"{name}-1.0.dist-info"
        record.mkdir()
        for file in files:
            (record / file).touch()
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(project))
    setup_environment.forget_half_installed()
    assert [path.name for path in project.glob("*.dist-info")] == ["whole-1.0.dist-info"]


def test_the_helper_installs_nothing_outside_its_own_environment(project):
    with pytest.raises(SystemExit, match="must be run by the Python in"):
        setup_environment.main([])


def test_every_requirement_is_pinned_within_its_range():
    pins = {
        canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in requirements("constraints.txt")
    }
    for requirement in requirements("requirements.txt"):
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement
    assert not [name for name in pins if name.startswith(("nvidia", "triton", "cuda"))]


def test_requirements_txt_is_the_front_and_the_engine_of_pyproject():
    listed = [*setup_environment.listed("project", "dependencies"), *setup_environment.listed(*ENGINE)]
    assert sorted(map(str, requirements("requirements.txt"))) == sorted(str(Requirement(line)) for line in listed)


def test_the_front_imports_nothing_that_only_the_engine_brings():
    engine = {canonicalize_name(Requirement(line).name) for line in setup_environment.listed(*ENGINE)}
    distributions = packages_distributions()
    for file in (ROOT / "imageserver").rglob("*.py"):
        if "engine" in file.relative_to(ROOT).parts:
            continue
        for package in imported(file):
            brought_by = {canonicalize_name(name) for name in distributions.get(package, [])}
            assert not brought_by & engine, f"{file.relative_to(ROOT)} imports {package}"


def test_pins_hold_for_every_build_and_platform():
    groups = [
        setup_environment.TESTS,
        setup_environment.INT8,
        setup_environment.CLUSTER,
        ("dependency-groups", "benchmarks"),
    ]
    listed = [Requirement(line) for group in groups for line in setup_environment.listed(*group)]
    for pin in [*requirements("constraints.txt"), *listed]:
        assert re.fullmatch(r"==[^+*,]+", str(pin.specifier)), f"{pin} is not one plain version"


@pytest.mark.parametrize("script", ["start_server.sh", "run_tests.sh", ".ci/run"])
def test_shell_scripts_have_no_syntax_errors_and_may_be_executed(script):
    subprocess.run(["bash", "-n", ROOT / script], check=True)
    assert (ROOT / script).stat().st_mode & 0o111


def test_both_start_scripts_share_the_set_up_and_its_flags():
    for script in ("start_server.sh", "start_server.bat"):
        text = (ROOT / script).read_text().replace("\\", "/")
        assert "tools/setup_environment.py --check" in text
        assert "--install-only" in text
        assert "sys.version_info < (3, 11)" in text
        assert "TORCH_INDEX_URL" in text


def test_the_windows_script_serves_without_gunicorn_and_jumps_only_to_labels_it_has():
    text = (ROOT / "start_server.bat").read_text()
    assert text.rstrip().endswith("tools\\start_flags.py %*\nexit /b %errorlevel%")
    assert "gunicorn" not in text
    assert ':join\n"%VENV_PYTHON%" -m imageserver.cluster %*\n' in text
    labels = set(re.findall(r"^:(\w+)$", text, re.MULTILINE))
    assert set(re.findall(r"goto (\w+)", text)) == labels
    # There they stand for the names of files.
    assert not re.search(r"^for .* in \([^)]*[?*]", text, re.MULTILINE)
    assert 'if "%~1"=="/?" goto help' in text
    assert "*.bat text eol=crlf" in (ROOT / ".gitattributes").read_text().splitlines()


def test_continuous_integration_runs_what_everybody_runs():
    assert "exec bash run_tests.sh" in (ROOT / ".ci/run").read_text()
