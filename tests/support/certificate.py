"""A certificate for the proxies under test, signed by itself."""

import shutil
import subprocess
from pathlib import Path

HOST = "images.example"
IS_POSSIBLE = shutil.which("openssl") is not None


def certify(certificate: Path, key: Path) -> None:
    """Write a certificate for HOST and its key."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
