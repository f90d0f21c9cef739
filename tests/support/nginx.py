"""A real nginx with the configuration of deploy/, on a free port before a server under test."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from tests.support.paths import ROOT
from tests.support.server import free_port

HOST = "images.example"
PREFIX = "/qwen"
# run_tests.sh unpacks Debian's package into the environment.
FOLDERS = (os.environ.get("PATH", ""), "/usr/sbin", str(ROOT / ".venv/nginx/usr/sbin"))
EXECUTABLE = shutil.which("nginx", path=os.pathsep.join(FOLDERS))
MISSING = "there is no nginx (Debian: apt-get install nginx) or no openssl"
IS_INSTALLED = bool(EXECUTABLE and shutil.which("openssl"))
FRAME = """{user}
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/site.conf;
}}
"""


class Nginx:
    """nginx with TLS for HOST; its certificate is signed by itself."""

    def __init__(self, folder: Path, upstream_port: int) -> None:
        self.port = free_port()
        self.url = f"https://{HOST}:{self.port}{PREFIX}/"
        self.certificate = folder / "certificate.pem"
        self._log = folder / "error.log"
        _certify(self.certificate, folder / "key.pem")
        site = (ROOT / "deploy" / "nginx.conf").read_text(encoding="utf-8")
        replaced = {
            "127.0.0.1:5000": f"127.0.0.1:{upstream_port}",
            "listen 443 ": f"listen 127.0.0.1:{self.port} ",
            "/etc/ssl/certs/images.example.pem": str(self.certificate),
            "/etc/ssl/private/images.example.key": str(folder / "key.pem"),
        }
        for old, new in replaced.items():
            assert old in site
            site = site.replace(old, new)
        (folder / "site.conf").write_text(site)
        # Root's workers would be of a user who may not enter the folder.
        user = "user root;" if os.name == "posix" and os.geteuid() == 0 else ""
        configuration = folder / "nginx.conf"
        configuration.write_text(FRAME.format(user=user, folder=folder))
        assert EXECUTABLE is not None
        self._process = subprocess.Popen(
            [EXECUTABLE, "-p", str(folder), "-c", str(configuration), "-e", str(self._log)]
        )
        self._wait()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)

    def _wait(self) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            assert self._process.poll() is None, self._log.read_text()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError(self._log.read_text())


def _certify(certificate: Path, key: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
