"""A real proxy with its configuration of deploy/, on a free port before a server under test."""

import os
import shutil
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path

from tests.support.certificate import HOST, certify
from tests.support.paths import ROOT
from tests.support.server import free_port

PREFIX = "/qwen"


class Proxy(ABC):
    """A program that serves https://HOST/qwen/ from a server, started when it is made."""

    name: str
    # None where it is not installed.
    executable: str | None
    configuration: str

    def __init__(self, folder: Path, upstream_port: int) -> None:
        self.port = free_port()
        self.url = f"https://{HOST}:{self.port}{PREFIX}/"
        self.folder = folder
        self.certificate, self.key = folder / "certificate.pem", folder / "key.pem"
        self.log = folder / "error.log"
        certify(self.certificate, self.key)
        site = (ROOT / "deploy" / self.configuration).read_text(encoding="utf-8")
        for old, new in {"127.0.0.1:5000": f"127.0.0.1:{upstream_port}", **self.replaced()}.items():
            assert old in site
            site = site.replace(old, new)
        (folder / "site.conf").write_text(site)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self.command(), stderr=log, env=os.environ | {"HOME": str(folder)})
        self._wait()

    @abstractmethod
    def replaced(self) -> dict[str, str]:
        """Return what the configuration says for a test instead of what stands there."""

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command that serves with the configuration in site.conf."""

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)

    def _wait(self) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            assert self._process.poll() is None, self.log.read_text()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError(self.log.read_text())


def executable_of(name: str) -> str | None:
    """Return the path of a proxy's program; run_tests.sh unpacks Debian's packages into the environment."""
    unpacked = ROOT / ".venv" / name / "usr"
    folders = (os.environ.get("PATH", ""), "/usr/sbin", str(unpacked / "sbin"), str(unpacked / "bin"))
    return shutil.which(name, path=os.pathsep.join(folders))
