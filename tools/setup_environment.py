"""Fill the virtual environment that runs this file with the server's pinned packages; the start scripts call it.

`--check` only answers (by its exit status) whether that was done before: it reads two small files and no network.
Uses nothing but the standard library, because nothing else is installed yet.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Not sys.prefix: under `-S`, which spares the check a third of its time, that names the Python underneath.
ENVIRONMENT = ROOT / ".venv"
REQUIREMENTS = ("requirements.txt", "constraints.txt")
# Where pyproject.toml lists what else is installed.
TESTS = ("dependency-groups", "tests")
INT8 = ("project", "optional-dependencies", "int8")
# What a server with CLUSTER needs, and a machine that joins one.
CLUSTER = ("project", "optional-dependencies", "cluster")
# What traces need.
OTEL = ("project", "optional-dependencies", "otel")
# What C2PA manifests need.
C2PA = ("project", "optional-dependencies", "c2pa")
# A whole S3 to test against, and what checks files of deploy/, take longer to install than all the other tools: for the
# full mode only.
STORES = ("dependency-groups", "stores")
DEPLOYMENT = ("dependency-groups", "deployment")
HEIC = ("dependency-groups", "heic")
# Clients that need other versions of the tests' own packages, also for the full mode only, in a folder of their own.
AGENT_CLIENTS = ("dependency-groups", "agents")
AGENTS = ENVIRONMENT / "agents"
# What users may add, the extra `int8`; apart from the rest, because diffusers and peft import it wherever they find it.
OPTIONAL = ENVIRONMENT / "optional"

# Free space an installation needs, in GB (the CPU set measures 1.7 GB unpacked, the CUDA set about 5), and what is
# left to do after PyTorch.
CPU_GIGABYTES = 2.5
CUDA_GIGABYTES = 6.0
OTHER_GIGABYTES = 1.0


def stamp_path(kind: str, files: tuple[str, ...], requirements: tuple[str, ...] = ()) -> Path:
    """Return the file that, when it exists, says that exactly these files and requirements were installed."""
    import hashlib

    digest = hashlib.sha256(b"python %d.%d\n" % sys.version_info[:2])
    for name in files:
        # Line ends differ between checkouts on Windows and elsewhere; the meaning does not.
        digest.update((ROOT / name).read_bytes().replace(b"\r\n", b"\n"))
    for requirement in requirements:
        digest.update(b"%s\n" % requirement.encode())
    return ENVIRONMENT / f".installed-{kind}-{digest.hexdigest()[:16]}"


def core_stamp() -> Path:
    """Return the stamp of what the server needs."""
    return stamp_path("core", REQUIREMENTS)


def development_stamp() -> Path:
    """Return the stamp of what lint, types and tests need."""
    return stamp_path("dev", ("constraints.txt",), (*development_requirements(), *listed(*INT8), *agent_requirements()))


def development_requirements() -> list[str]:
    """Return what lint, types and tests need beside the server's packages, with QIS_FULL=1 the slow modes too."""
    full_mode = [*listed(*STORES), *listed(*DEPLOYMENT), *listed(*HEIC)] if setting("QIS_FULL") else []
    return [*listed(*TESTS), *listed(*CLUSTER), *listed(*OTEL), *listed(*C2PA), *full_mode]


def agent_requirements() -> list[str]:
    """Return the clients that the full mode drives with packages of their own."""
    return listed(*AGENT_CLIENTS) if setting("QIS_FULL") else []


def extra_stamp(name: str) -> Path:
    """Return the stamp of what an extra needs."""
    return stamp_path(name, ("constraints.txt",), tuple(listed("project", "optional-dependencies", name)))


def wanted_extras() -> list[str]:
    """Return the extras that the settings ask for."""
    wanted = {
        "cluster": bool(setting("CLUSTER")),
        "s3": setting("OUTPUT_URL").startswith(("s3:", "s3a:")),
        "otel": bool(setting("OTEL_EXPORTER_OTLP_ENDPOINT")),
        "c2pa": bool(setting("C2PA_CERT")),
    }
    return [name for name, is_wanted in wanted.items() if is_wanted]


def listed(*path: str) -> list[str]:
    """Return a list of requirements in pyproject.toml; pip reads dependency groups since 25.1, a new .venv has 23.2."""
    import tomllib

    content = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for name in path:
        content = content[name]
    return list(content)


def torch_requirement() -> str:
    """Return the line of requirements.txt that names PyTorch's version."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return next(line.strip() for line in lines if line.startswith("torch=="))


def setting(name: str) -> str:
    """Return a variable of the environment or else of `.env`; empty when it is in neither."""
    import os

    if os.environ.get(name):
        return os.environ[name]
    dotenv = ROOT / ".env"
    lines = dotenv.read_text(encoding="utf-8").splitlines() if dotenv.is_file() else []
    values = [line.partition("=")[2] for line in lines if line.partition("=")[0].strip() == name]
    return values[-1].strip().strip("\"'") if values else ""


def has_nvidia_gpu() -> bool:
    """Tell whether this machine has an NVIDIA GPU with a driver that answers."""
    import shutil
    import subprocess

    if Path("/dev/nvidia0").exists():
        return True
    program = shutil.which("nvidia-smi")
    if program is None:
        return False
    try:
        answer = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0 and "GPU" in answer.stdout


def pip(*arguments: str, quiet: bool = False) -> bool:
    """Run this environment's pip from the project's folder; tell whether it succeeded."""
    import os
    import subprocess

    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    # PIP_USER would send the packages elsewhere; pip refuses it inside a virtual environment.
    environment = {**os.environ, "PIP_USER": "0"}
    output = subprocess.DEVNULL if quiet else None
    return subprocess.run(command, cwd=ROOT, env=environment, stdout=output, stderr=output, check=False).returncode == 0


def choose_torch(requirement: str) -> tuple[list[str], float, str]:
    """Choose the build of PyTorch for this machine: pip's arguments, the GB it needs and one sentence that says why."""
    url, gpu = setting("TORCH_INDEX_URL"), has_nvidia_gpu()
    if url:
        needed = CUDA_GIGABYTES if gpu else CPU_GIGABYTES
        return ["--index-url", url, requirement], needed, "the build that TORCH_INDEX_URL offers, as you asked"
    if sys.platform == "darwin":
        return [requirement], CPU_GIGABYTES, "the macOS build (CPU and Apple GPU)"
    if sys.platform == "win32":
        reason = "the CPU build, because no NVIDIA GPU was found"
        if gpu:
            reason = (
                "the CPU build, although an NVIDIA GPU was found: on Windows the CUDA build comes only from the CUDA "
                "index that PyTorch's installation page shows; to use the GPU delete .venv, set TORCH_INDEX_URL to "
                "that index and start again"
            )
        return [requirement], CPU_GIGABYTES, reason
    if gpu:
        return [requirement], CUDA_GIGABYTES, "the CUDA build, because an NVIDIA GPU was found"
    if pip("install", "--dry-run", "--no-deps", f"{requirement}+cpu", quiet=True):
        return [f"{requirement}+cpu"], CPU_GIGABYTES, "the CPU build, because no NVIDIA GPU was found"
    reason = (
        "the default build: no NVIDIA GPU was found, but pip's package index lists no build marked as CPU only. It "
        "may bring several GB of CUDA packages; to avoid them press Ctrl+C, set TORCH_INDEX_URL to the CPU index "
        "that PyTorch's installation page shows (Pip, CPU) and start again"
    )
    return [requirement], CUDA_GIGABYTES, reason


def torch_is_installed(requirement: str) -> bool:
    """Tell whether the wanted version of PyTorch, of whichever build, is completely installed here."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        torch = distribution("torch")
    except PackageNotFoundError:
        return False
    return torch.version.partition("+")[0] == requirement.partition("==")[2]


def forget_half_installed() -> None:
    """Remove the records of packages whose installation was interrupted, so that pip installs them again."""
    import shutil
    import sysconfig

    for record in Path(sysconfig.get_path("purelib")).glob("*.dist-info"):
        # Installers write this file after all the others.
        if not (record / "INSTALLER").exists():
            shutil.rmtree(record, ignore_errors=True)


def require_space(needed: float) -> None:
    """Raise SystemExit with one sentence when the disk has less than `needed` GB left."""
    import shutil

    free = shutil.disk_usage(ENVIRONMENT).free / 1e9
    if free < needed:
        raise SystemExit(
            f"Not enough disk space: the installation needs {needed:.1f} GB, and {free:.1f} GB are free in {ROOT}."
        )


def finish(stamp: Path, kind: str) -> None:
    """Write the stamp, last of all, in place of the ones of older requirements."""
    for old in stamp.parent.glob(f".installed-{kind}-*"):
        old.unlink()
    stamp.touch()


def install_core() -> None:
    """Install PyTorch in the build that suits this machine, then everything else the server needs."""
    requirement = torch_requirement()
    forget_half_installed()
    if torch_is_installed(requirement):
        require_space(OTHER_GIGABYTES)
        print(f"[1/2] PyTorch: {requirement} is already here.", flush=True)
    else:
        arguments, needed, reason = choose_torch(requirement)
        require_space(needed)
        print(f"[1/2] PyTorch: {reason}.", flush=True)
        # Its dependencies come with the others: a special index need not have them, least of all the pinned versions.
        if not pip("install", "--progress-bar", "on", "--no-deps", *arguments):
            raise SystemExit("PyTorch could not be installed; pip says above why. Starting again resumes from here.")
    print("[2/2] The other packages.", flush=True)
    if not pip("install", "--progress-bar", "on", "-r", "requirements.txt", "-c", "constraints.txt"):
        raise SystemExit("The packages could not be installed; pip says above why. Starting again resumes from here.")
    finish(core_stamp(), "core")


def install_extra(name: str) -> None:
    """Install what an extra needs."""
    requirements = listed("project", "optional-dependencies", name)
    print(f"The packages of the extra {name}.", flush=True)
    if not pip("install", "--progress-bar", "on", "-c", "constraints.txt", *requirements):
        raise SystemExit(f"The extra {name} could not be installed; pip says why. Starting again resumes from here.")
    finish(extra_stamp(name), name)


def install_development() -> None:
    """Install what lint, types and tests need."""
    print("The packages for lint, types and tests.", flush=True)
    if not pip("install", "--progress-bar", "on", "-c", "constraints.txt", *development_requirements()):
        raise SystemExit("The packages for the tests could not be installed; pip says above why.")
    if not pip("install", "--upgrade", "--no-deps", "--target", str(OPTIONAL), *listed(*INT8)):
        raise SystemExit("The optional packages could not be installed; pip says above why.")
    agents = agent_requirements()
    if agents and not pip("install", "--upgrade", "--target", str(AGENTS), *agents):
        raise SystemExit("The agents' packages could not be installed; pip says above why.")
    finish(development_stamp(), "dev")


def main(arguments: list[str]) -> int:
    """Install what is missing, or with `--check` only tell whether something is."""
    wrong = set(arguments) - {"--check", "--dev"}
    if wrong:
        raise SystemExit(f"Unknown option {sorted(wrong)[0]}; known are --check and --dev.")
    needed = [core_stamp(), *map(extra_stamp, wanted_extras())]
    if "--check" in arguments:
        return 0 if all(stamp.exists() for stamp in needed) else 1
    if Path(sys.prefix).resolve() != ENVIRONMENT:
        raise SystemExit(f"This must be run by the Python in {ENVIRONMENT}; the start script does that.")
    try:
        if not core_stamp().exists():
            install_core()
        for name in wanted_extras():
            if not extra_stamp(name).exists():
                install_extra(name)
        if "--dev" in arguments and not development_stamp().exists():
            install_development()
    except KeyboardInterrupt:
        raise SystemExit("\nInterrupted; starting again resumes from here.") from None
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
