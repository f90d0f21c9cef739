"""The steps of deploy/Dockerfile in a folder with Debian instead of Docker: its own Python, chroot, user and mounts.

The stages `build` and `base` and the last one share one folder, so `COPY --from=build` finds what it names in place.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

from tests.support.paths import ROOT

DOCKERFILE = ROOT / "deploy" / "Dockerfile"
# Its Python is 3.11, that of the image 3.13; the steps are the same.
SUITE = "bookworm"
PACKAGES = "ca-certificates,python3,python3-venv"
# Where pip of this machine looks for packages; a folder of theirs is mounted.
PIP_VARIABLES = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CERT")
# The same for uv, in the same order.
UV_VARIABLES = ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_FIND_LINKS", "SSL_CERT_FILE")
MOUNTED = """
set -eu
mount --bind "$root" "$root"
mount --bind "$1" "$root"/volumes
for volume in $volumes; do mount --bind "$root/volumes$volume" "$root$volume"; done
mount --bind /proc "$root"/proc
mount -t tmpfs tmpfs "$root"/tmp
mount -t tmpfs tmpfs "$root"/dev/shm
mount -o remount,bind,ro "$root"
exec chroot --userspec=10001:10001 "$root" sh -c "cd /state && exec \\"\\$@\\"" sh $command
"""


def instructions(target: str) -> list[tuple[str, str]]:
    """Return the (word, argument) pairs of the stages that the target is made of, in order."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    wanted, stage, found = {"", "build", "base", target}, "", []
    for line in filter(None, text.splitlines()):
        word, _, argument = line.partition(" ")
        if word == "FROM":
            stage = argument.rpartition(" ")[2]
        if stage in wanted:
            found.append((word, argument.strip()))
    return found


class Chroot:
    """A folder with Debian in which a target was built; `environment` and `told` are what the image would have."""

    def __init__(self, folder: Path, target: str, **arguments: str) -> None:
        self.folder = folder
        self.environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        self.told: dict[str, str] = {}
        self._arguments, self._work_dir = arguments, "/"
        subprocess.run(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(folder)], check=True)
        folder.chmod(0o755)
        # Where the way to the packages leads through a proxy, its certificate is among those of this machine.
        for file in ("etc/resolv.conf", "etc/ssl/certs/ca-certificates.crt"):
            shutil.copy(Path("/", file), folder / file)
        for word, argument in instructions(target):
            self._follow(word, argument)

    @property
    def volumes(self) -> list[str]:
        found: list[str] = json.loads(self.told["VOLUME"])
        return found

    def serve(self, state: Path, command: list[str], **variables: str) -> "subprocess.Popen[str]":
        """Start a command as the image does: its user, a read-only root, the volumes in a folder, nothing else."""
        for volume in self.volumes:
            (state / volume[1:]).mkdir(parents=True, exist_ok=True)
            os.chown(state / volume[1:], 10001, 10001)
        (self.folder / "volumes").mkdir(exist_ok=True)
        environment = self.environment | variables | {
            "root": str(self.folder), "volumes": " ".join(self.volumes), "command": shlex.join(command)
        }  # fmt: skip
        return subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", MOUNTED, "sh", str(state)],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def _follow(self, word: str, argument: str) -> None:
        match word:
            case "ARG":
                name, _, default = argument.partition("=")
                self._arguments.setdefault(name, default)
            case "ENV":
                for pair in shlex.split(self._expanded(argument)):
                    name, _, value = pair.partition("=")
                    self.environment[name] = value
            case "WORKDIR":
                self._work_dir = argument
                (self.folder / argument[1:]).mkdir(parents=True, exist_ok=True)
            case "COPY" if not argument.startswith("--from"):
                *sources, _ = argument.split()
                for source in ALLOWED if sources == ["."] else sources:
                    self._copy(ROOT / source)
            case "RUN":
                self._run(argument)
            case _:
                self.told[word] = argument

    def _copy(self, source: Path) -> None:
        to = self.folder / self._work_dir[1:] / source.name
        if source.is_dir():
            shutil.copytree(source, to, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        else:
            shutil.copy(source, to)

    def _run(self, argument: str) -> None:
        pip = {name: os.environ[name] for name in PIP_VARIABLES if name in os.environ}
        uv = {other: os.environ[name] for name, other in zip(PIP_VARIABLES, UV_VARIABLES, strict=True) if name in pip}
        if "UV_FIND_LINKS" in uv:
            uv["UV_FIND_LINKS"] = ",".join(uv["UV_FIND_LINKS"].split())
        shared = [path for path in pip.get("PIP_FIND_LINKS", "").split() if Path(path).is_dir()]
        mounts = "".join(f'mkdir -p "$root{path}" && mount --bind {path} "$root{path}" && ' for path in shared)
        script = f'mount --bind /proc "$root/proc" && {mounts}exec chroot "$root" sh -c "cd {self._work_dir} && $step"'
        environment = self._arguments | self.environment | pip | uv | {"root": str(self.folder), "step": argument}
        subprocess.run(["unshare", "--mount", "sh", "-euc", script], env=environment, check=True)

    def _expanded(self, text: str) -> str:
        return re.sub(r"\$(\w+)", lambda match: self.environment.get(match[1], ""), text)


ALLOWED = [line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")]
