"""Try a running server: health, info, a picture saved by the server, one as bytes, one from a Chinese prompt.

    python test_client.py --url http://localhost:5000 --prompt "a red circle on a blue background"

A script for people, not a test of the test suite. `Client` is shared with the other two scripts.
"""

import argparse
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class CheckError(Exception):
    """Something is not as it should be, said in one sentence."""


class Client:
    """Talk to one server; every failure is a `CheckError` with one sentence."""

    def __init__(self, url: str, timeout: float = 600.0) -> None:
        self.url = url.rstrip("/")
        self.timeout = timeout
        self.session = requests.Session()
        # One connection for each request of test_concurrent.py; the default is ten.
        for scheme in ("http://", "https://"):
            self.session.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=256))
        # A company's proxy cannot reach this machine's own server.
        self.session.trust_env = urlsplit(url).hostname not in ("localhost", "127.0.0.1", "::1")

    def request(self, method: str, path: str, body: dict[str, object] | None = None) -> requests.Response:
        """Send one request and return whatever the server answers."""
        try:
            return self.session.request(method, self.url + path, json=body, timeout=(10.0, self.timeout))
        except requests.ReadTimeout:
            raise CheckError(f"{self.url}{path} did not answer within {self.timeout:.0f} s.") from None
        except (requests.ConnectionError, requests.Timeout):
            raise CheckError(f"No server answers at {self.url}; start one with: bash start_server.sh") from None
        except requests.RequestException as error:
            raise CheckError(f"{self.url} cannot be asked: {error}") from None

    def get(self, path: str) -> requests.Response:
        """GET a path that must answer 200."""
        return expect_success(self.request("GET", path))

    def generate(self, **parameters: object) -> requests.Response:
        """POST /generate, which must answer 200."""
        return expect_success(self.request("POST", "/generate", parameters))

    def wait_until_ready(self, seconds: float) -> None:
        """Wait while the model loads; fail at once when there is no server, and after `seconds` when it still loads."""
        deadline = time.monotonic() + seconds
        announced = False
        while (response := self.request("GET", "/readyz")).status_code == 503:
            if time.monotonic() >= deadline:
                reason = sentence_of(self.request("GET", "/health"))
                raise CheckError(f"{self.url} is not ready after {seconds:g} s: {reason}")
            if not announced:
                print(f"The server is not ready yet; waiting up to {seconds:g} s.", flush=True)
                announced = True
            time.sleep(min(0.5, max(0.0, deadline - time.monotonic())))
        if response.status_code != 200:
            raise CheckError(f"{self.url} answers, but not like this server: /readyz gave {response.status_code}.")


def json_of(response: requests.Response) -> dict[str, Any]:
    """Return the JSON object of an answer."""
    try:
        answer = response.json()
    except requests.JSONDecodeError:
        answer = None
    if not isinstance(answer, dict):
        raise CheckError(f"{response.url} answered {response.status_code} without a JSON object.")
    return answer


def sentence_of(response: requests.Response) -> str:
    """Return the server's own words about a failure, or else the status."""
    try:
        answer = json_of(response)
    except CheckError:
        answer = {}
    return str(answer.get("error") or answer.get("reason") or f"HTTP status {response.status_code}.")


def expect_success(response: requests.Response) -> requests.Response:
    """Return the answer if its status is 200."""
    if response.status_code != 200:
        raise CheckError(f"{urlsplit(response.url).path} answered {response.status_code}: {sentence_of(response)}")
    return response


def png_size(data: bytes) -> tuple[int, int]:
    """Return (width, height) in pixels as the header of a PNG says."""
    if not data.startswith(PNG_SIGNATURE) or len(data) < 24:
        raise CheckError("The answer is not a PNG picture.")
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def check_health(client: Client) -> str:
    """The server says that it is healthy and has a model."""
    health = json_of(client.get("/health"))
    if not health.get("model_loaded"):
        raise CheckError(f"The model is not loaded; the status is {health.get('status')!r}.")
    return f"{health.get('status')}, on {health.get('gpu')}"


def check_info(client: Client) -> str:
    """The server names its model and the sizes it offers."""
    information = json_of(client.get("/info"))
    ratios = information.get("supported_aspect_ratios")
    if not information.get("model_name") or not ratios:
        raise CheckError("The answer lacks model_name or supported_aspect_ratios.")
    return f"{information['model_name']}, {len(ratios)} aspect ratios"


def check_file(client: Client, prompt: str) -> str:
    """The server saves a picture and says where."""
    answer = json_of(client.generate(prompt=prompt, aspect_ratio="s1:1", save_to_file=True))
    missing = {"status", "request_id", "inference_time", "file_path", "width", "height"} - answer.keys()
    if missing:
        raise CheckError(f"The answer lacks {', '.join(sorted(missing))}.")
    if answer["status"] != "success" or (answer["width"], answer["height"]) != (512, 512):
        raise CheckError(
            f"Expected a success of 512x512, got {answer['status']} of {answer['width']}x{answer['height']}."
        )
    return f"{answer['file_path']} on the server, computed in {answer['inference_time']} s"


def check_bytes(client: Client, prompt: str, language: str, target: Path) -> str:
    """The server sends a picture; it is kept in `target`."""
    response = client.generate(prompt=prompt, aspect_ratio="s1:1", language=language)
    size = png_size(response.content)
    if size != (512, 512):
        raise CheckError(f"Expected 512x512 pixels, got {size[0]}x{size[1]}.")
    target.write_bytes(response.content)
    return f"{target}, seed {response.headers.get('X-Seed', 'unknown')}"


def run_checks(checks: list[tuple[str, Callable[[], str]]]) -> bool:
    """Run every check, print a line with its time for each, and tell whether all passed."""
    passed = 0
    for name, check in checks:
        print(f"{name:<20} ", end="", flush=True)
        started = time.perf_counter()
        try:
            outcome, remark = "ok", check()
            passed += 1
        except (CheckError, OSError) as error:
            outcome, remark = "FAILED", str(error)
        print(f"{outcome:<6} {time.perf_counter() - started:7.2f} s  {remark}", flush=True)
    print(f"{passed} of {len(checks)} checks passed.")
    return passed == len(checks)


def common_arguments(description: str) -> argparse.ArgumentParser:
    """Return a parser that knows what all three scripts understand."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--url", default="http://localhost:5000", help="address of the server (%(default)s)")
    parser.add_argument("--prompt", default="a red circle on a blue background", help="what to draw (%(default)s)")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds one answer may take (%(default).0f)")
    parser.add_argument("--wait", type=float, default=120.0, help="seconds to wait for a loading model (%(default).0f)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the checks that the command line asks for; return the exit status."""
    parser = common_arguments("Try a running server: health, info, and three pictures.")
    parser.add_argument("--output-dir", type=Path, default=Path("tmp"), help="folder for the pictures (%(default)s)")
    options = parser.parse_args(arguments)
    client = Client(options.url, options.timeout)
    folder: Path = options.output_dir
    try:
        client.wait_until_ready(options.wait)
        folder.mkdir(parents=True, exist_ok=True)
    except (CheckError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    checks: list[tuple[str, Callable[[], str]]] = [
        ("health", lambda: check_health(client)),
        ("info", lambda: check_info(client)),
        ("picture to a file", lambda: check_file(client, options.prompt)),
        ("picture as bytes", lambda: check_bytes(client, options.prompt, "en", folder / "test_client.png")),
        ("Chinese prompt", lambda: check_bytes(client, "蓝色背景上的红色圆形", "zh", folder / "test_client_zh.png")),
    ]
    return 0 if run_checks(checks) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
