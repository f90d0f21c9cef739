"""Try a running server: health, info, an image saved by the server, one as bytes, one from a Chinese prompt.

    python test_client.py --url http://localhost:5000 --prompt "a red circle on a blue background"
    python test_client.py --test-streaming --save-intermediates        a stream, its previews kept as files
    python test_client.py --test-non-streaming --output-dir results    the same image in one answer
    python test_client.py --all                                        everything, and both compared
    QIS_API_KEY=... python test_client.py            for a server that requires a key

A script for people, not a test of the test suite. `Client` is shared with the other two scripts.
"""

import argparse
import base64
import json
import os
import struct
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8\xff"
GENERATIONS = "/v1/images/generations"
FRAME_KEYS = {
    "step", "total_steps", "progress", "image", "timestamp", "is_final", "is_chunked", "chunk_id", "chunk_index",
    "total_chunks", "image_index", "total_images", "seed",
}  # fmt: skip
# The same image, streamed or not; without `cache: False`, the cache would answer the second request.
IMAGE: dict[str, object] = {
    "size": "512x512", "num_inference_steps": 20, "true_cfg_scale": 4.0, "seed": 7, "cache": False
}  # fmt: skip
KEY_VARIABLE = "QIS_API_KEY"
TICK, CROSS = "\N{CHECK MARK}", "\N{BALLOT X}"
GREEN, RED = 32, 31


class CheckError(Exception):
    """A failed check, described in one sentence."""


class Bearer(requests.auth.AuthBase):
    """Send a key, even where .netrc has a password for the same machine, but never to another machine."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Return the request with its key."""
        request.headers["Authorization"] = f"Bearer {self._key}"
        return request


class Client:
    """A connection to one server; every failure is a `CheckError` with one sentence."""

    def __init__(self, url: str, timeout: float = 600.0, api_key: str = "") -> None:
        self.url = url.rstrip("/")
        self.timeout = timeout
        self.session = requests.Session()
        if api_key:
            self.session.auth = Bearer(api_key)
        # Enough connections for test_concurrent.py; the default is ten.
        for scheme in ("http://", "https://"):
            self.session.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=256))
        # A company's proxy cannot reach this machine's own server.
        self.session.trust_env = urlsplit(url).hostname not in ("localhost", "127.0.0.1", "::1")

    def request(
        self, method: str, path: str, body: dict[str, object] | None = None, *, stream: bool = False
    ) -> requests.Response:
        """Send one request and return any answer; a `stream` is returned before its body arrives."""
        try:
            return self.session.request(method, self.url + path, json=body, timeout=(10.0, self.timeout), stream=stream)
        except requests.ReadTimeout:
            raise CheckError(f"{self.url}{path} did not answer within {self.timeout:.0f} s.") from None
        except (requests.ConnectionError, requests.Timeout):
            raise CheckError(f"No server answers at {self.url}; start one with: bash start_server.sh") from None
        except requests.RequestException as error:
            raise CheckError(f"The request to {self.url} failed: {error}") from None

    def get(self, path: str) -> requests.Response:
        """GET a path that must answer 200."""
        return expect_success(self.request("GET", path))

    def generate(self, **parameters: object) -> requests.Response:
        """POST /generate, which must answer 200."""
        return expect_success(self.request("POST", "/generate", parameters))

    def generate_openai(self, **parameters: object) -> bytes:
        """POST /v1/images/generations and return the one image of the answer."""
        answer = json_of(expect_success(self.request("POST", GENERATIONS, parameters)))
        try:
            return decoded(answer["data"][0]["b64_json"])
        except (LookupError, TypeError):
            raise CheckError(f"The answer of {GENERATIONS} has no image in data[0].b64_json.") from None

    def stream(self, **parameters: object) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Yield every image of a stream, assembled from its chunks, with the image's last frame."""
        body = parameters | {"stream": True, "stream_format": "cogview4"}
        incomplete: dict[str, dict[int, str]] = {}
        with expect_success(self.request("POST", GENERATIONS, body, stream=True)) as response:
            for frame in frames_of(response):
                if not frame["is_chunked"]:
                    yield frame, decoded(frame["image"])
                    continue
                parts = incomplete.setdefault(frame["chunk_id"], {})
                parts[frame["chunk_index"]] = frame["image"]
                if len(parts) == frame["total_chunks"]:
                    yield frame, decoded("".join(parts[index] for index in sorted(parts)))
                    del incomplete[frame["chunk_id"]]
        if incomplete:
            raise CheckError("The stream ended before all chunks arrived.")

    def wait_until_ready(self, seconds: float) -> None:
        """Wait while the model loads; fail at once without a server, and after `seconds` if it is still loading."""
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
            raise CheckError(f"{self.url} is not a qwen-image-server: /readyz answered {response.status_code}.")


def json_of(response: requests.Response) -> dict[str, Any]:
    """Return the JSON object of an answer."""
    try:
        answer = response.json()
    except requests.JSONDecodeError:
        answer = None
    if not isinstance(answer, dict):
        raise CheckError(f"{response.url} answered {response.status_code} without a JSON object.")
    return answer


def frames_of(response: requests.Response) -> Iterator[dict[str, Any]]:
    """Yield the frames of a stream until its [DONE]."""
    try:
        for line in response.iter_lines(chunk_size=2**16):
            if line == b"data: [DONE]":
                return
            if line.startswith(b"data: "):
                yield checked_frame(json.loads(line.removeprefix(b"data: ")))
    except (requests.RequestException, ValueError) as error:
        raise CheckError(f"The stream broke off: {error!r}") from None
    raise CheckError("The stream ended without its [DONE].")


def checked_frame(frame: Any) -> dict[str, Any]:
    """Return the frame if it is complete and reports no failure."""
    if not isinstance(frame, dict) or "error" in frame:
        raise CheckError(f"The stream failed: {frame['error'] if isinstance(frame, dict) else frame}")
    if missing := FRAME_KEYS - frame.keys():
        raise CheckError(f"A frame lacks {', '.join(sorted(missing))}.")
    return frame


def decoded(text: object) -> bytes:
    """Return the bytes of base64."""
    try:
        return base64.b64decode(str(text), validate=True)
    except ValueError:
        raise CheckError("An image in the answer is not valid base64.") from None


def sentence_of(response: requests.Response) -> str:
    """Return the server's own sentence about a failure, or the status."""
    try:
        answer = json_of(response)
    except CheckError:
        answer = {}
    if isinstance(answer.get("error"), dict):
        return str(answer["error"].get("message"))
    return str(answer.get("error") or answer.get("reason") or f"HTTP status {response.status_code}.")


def expect_success(response: requests.Response) -> requests.Response:
    """Return the answer if its status is 200."""
    if response.status_code != 200:
        raise CheckError(f"{urlsplit(response.url).path} answered {response.status_code}: {sentence_of(response)}")
    return response


def png_size(data: bytes) -> tuple[int, int]:
    """Return (width, height) in pixels as the header of a PNG says."""
    if not data.startswith(PNG_SIGNATURE) or len(data) < 24:
        raise CheckError("The answer is not a PNG image.")
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
    """The server saves an image and returns its path."""
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
    """The server sends an image, which is saved to `target`."""
    response = client.generate(prompt=prompt, aspect_ratio="s1:1", language=language)
    expect_size(response.content, (512, 512))
    target.write_bytes(response.content)
    return f"{target}, seed {response.headers.get('X-Seed', 'unknown')}"


def check_non_streaming(client: Client, prompt: str, target: Path) -> str:
    """The server sends an image in the OpenAI format, which is saved to `target`."""
    data = client.generate_openai(prompt=prompt, **IMAGE)
    expect_size(data, (512, 512))
    target.write_bytes(data)
    return str(target)


def check_streaming(client: Client, prompt: str, folder: Path, save_intermediates: bool) -> str:
    """The server streams an image with previews, which `save_intermediates` keeps as files."""
    began, first, previews, finished = time.perf_counter(), 0.0, 0, b""
    for frame, data in client.stream(prompt=prompt, **IMAGE):
        first = first or time.perf_counter() - began
        if frame["is_final"]:
            finished = data
            continue
        if not data.startswith(JPEG_SIGNATURE):
            raise CheckError(f"The preview after step {frame['step'] + 1} is not a JPEG image.")
        if save_intermediates:
            (folder / f"test_client_step_{frame['step']:03}.jpg").write_bytes(data)
        previews += 1
    expect_size(finished, (512, 512))
    target = folder / "test_client_streamed.png"
    target.write_bytes(finished)
    return f"{target}, {previews} previews, the first image after {first:.2f} s"


def check_streams_at_once(client: Client, prompt: str) -> str:
    """Two streams at the same time each bring their own two images."""

    def seeds_of(seed: int) -> list[int]:
        images = client.stream(prompt=prompt, **IMAGE | {"n": 2, "seed": seed})
        return [frame["seed"] for frame, _ in images if frame["is_final"]]

    with ThreadPoolExecutor(2) as pool:
        seeds = list(pool.map(seeds_of, (100, 200)))
    if seeds != [[100, 101], [200, 201]]:
        raise CheckError(f"Expected the images of the seeds 100, 101 and 200, 201; got {seeds}.")
    return "2 streams of 2 images"


def check_refusal(client: Client, prompt: str) -> str:
    """The server refuses an impossible size, and says why."""
    response = client.request("POST", GENERATIONS, {"prompt": prompt, "size": "0x0"})
    if not 400 <= response.status_code < 500:
        raise CheckError(f"The request for an image of 0x0 was answered with {response.status_code}.")
    return f"{response.status_code}: {sentence_of(response)}"


def expect_size(data: bytes, expected: tuple[int, int]) -> None:
    """Raise CheckError unless the bytes are a PNG of the expected size."""
    size = png_size(data)
    if size != expected:
        raise CheckError(f"Expected {expected[0]}x{expected[1]} pixels, got {size[0]}x{size[1]}.")


def run_checks(checks: list[tuple[str, Callable[[], str]]]) -> bool:
    """Run every check, print a line with its time for each, and return whether all passed."""
    passed = 0
    for name, check in checks:
        print(f"{name:<20} ", end="", flush=True)
        started = time.perf_counter()
        try:
            outcome, remark = marked("ok", passed=True), check()
            passed += 1
        except (CheckError, OSError) as error:
            outcome, remark = marked("FAILED", passed=False), str(error)
        print(f"{outcome} {time.perf_counter() - started:7.2f} s  {remark}", flush=True)
    summary = f"{passed} of {len(checks)} checks passed."
    print(coloured(summary, passed=passed == len(checks)) if sys.stdout.isatty() else summary)
    return passed == len(checks)


def marked(word: str, *, passed: bool) -> str:
    """Return a word of six characters, on a terminal with a tick or a cross, in colour unless NO_COLOR is set."""
    text = f"{word:<6}"
    return coloured(f"{TICK if passed else CROSS} {text}", passed=passed) if sys.stdout.isatty() else text


def coloured(text: str, *, passed: bool) -> str:
    """Return a text for a terminal in green or red, unless NO_COLOR is set."""
    return text if os.environ.get("NO_COLOR") else f"\x1b[{GREEN if passed else RED}m{text}\x1b[0m"


def complain(sentence: object) -> None:
    """Write a failure to standard error, where that is a terminal with a cross and in colour."""
    print(coloured(f"{CROSS} {sentence}", passed=False) if sys.stderr.isatty() else sentence, file=sys.stderr)


def common_arguments(description: str) -> argparse.ArgumentParser:
    """Return a parser with the options that all three scripts share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--url", default="http://localhost:5000", help="address of the server (%(default)s)")
    parser.add_argument("--prompt", default="a red circle on a blue background", help="what to generate (%(default)s)")
    parser.add_argument(
        "--api-key",
        type=_key,
        default=os.environ.get(KEY_VARIABLE, ""),
        metavar="KEY",
        help=f"API key, if the server requires one (better set {KEY_VARIABLE}, which other users cannot see)",
    )
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds that one answer may take (%(default).0f)")
    parser.add_argument("--wait", type=float, default=120.0, help="seconds to wait for a loading model (%(default).0f)")
    return parser


def _key(text: str) -> str:
    key = text.strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise argparse.ArgumentTypeError("a key must be ASCII without spaces")
    return key


def main(arguments: list[str] | None = None) -> int:
    """Run the checks that the command line names; return the exit status."""
    parser = common_arguments("Try a running server: health, info and three images, or what the options name.")
    parser.add_argument("--output-dir", type=Path, default=Path("tmp"), help="folder for the images (%(default)s)")
    parser.add_argument("--test-streaming", action="store_true", help="try a stream")
    parser.add_argument("--test-non-streaming", action="store_true", help="try the same image in one answer")
    parser.add_argument("--all", action="store_true", help="run every check")
    parser.add_argument("--save-intermediates", action="store_true", help="keep a stream's previews in the folder")
    options = parser.parse_args(arguments)
    client = Client(options.url, options.timeout, options.api_key)
    folder: Path = options.output_dir
    try:
        client.wait_until_ready(options.wait)
        folder.mkdir(parents=True, exist_ok=True)
    except (CheckError, OSError) as error:
        complain(error)
        return 1
    return 0 if run_checks(chosen_checks(client, options)) else 1


def chosen_checks(client: Client, options: argparse.Namespace) -> list[tuple[str, Callable[[], str]]]:
    """Return the checks that the command line names, or five by default."""
    folder, prompt = options.output_dir, options.prompt
    default: list[tuple[str, Callable[[], str]]] = [
        ("health", lambda: check_health(client)),
        ("info", lambda: check_info(client)),
        ("image to a file", lambda: check_file(client, prompt)),
        ("image as bytes", lambda: check_bytes(client, prompt, "en", folder / "test_client.png")),
        ("Chinese prompt", lambda: check_bytes(client, "蓝色背景上的红色圆形", "zh", folder / "test_client_zh.png")),
    ]
    named: list[tuple[str, Callable[[], str]]] = []
    if options.all or options.test_non_streaming:
        target = folder / "test_client_not_streamed.png"
        named.append(("not streamed", lambda: check_non_streaming(client, prompt, target)))
    if options.all or options.test_streaming or options.save_intermediates:
        named.append(("streamed", lambda: check_streaming(client, prompt, folder, options.save_intermediates)))
        named.append(("streams at once", lambda: check_streams_at_once(client, prompt)))
    if options.all:
        return [*default, *named, ("refusal", lambda: check_refusal(client, prompt))]
    return named or default


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
