"""Check in a few seconds whether a server is reachable: its addresses, a one-step image, and a short stream.

    python test_connectivity.py --url http://localhost:5000

A script for people, not a test of the test suite.
"""

import sys
from collections.abc import Callable

from test_client import CheckError, Client, common_arguments, complain, json_of, png_size, run_checks, sentence_of


def check_address(client: Client, path: str) -> str:
    """The address answers 200."""
    response = client.get(path)
    return f"{path}, {len(response.content)} bytes"


def check_optional_address(client: Client, path: str) -> str:
    """The address answers 200, or this server does not offer it."""
    response = client.request("GET", path)
    if response.status_code == 404:
        return f"{path} is not offered by this server"
    if response.status_code != 200:
        raise CheckError(f"{path} answered {response.status_code}: {sentence_of(response)}")
    return f"{path}, {len(response.content)} bytes"


def check_health(client: Client) -> str:
    """The server reports its health."""
    health = json_of(client.get("/health"))
    return f"{health.get('status')}, device {health.get('device')}, {health.get('gpu')}"


def check_generation(client: Client, prompt: str) -> str:
    """An image of one step arrives; this tests the connection, not the model."""
    response = client.generate(prompt=prompt, num_inference_steps=1, true_cfg_scale=1.0, add_overlay=False)
    width, height = png_size(response.content)
    return f"{width}x{height} pixels, computed in {response.headers.get('X-Inference-Time', 'unknown')} s"


def check_stream(client: Client, prompt: str) -> str:
    """A stream of two steps brings a preview and ends with an image."""
    images = [
        (frame["is_final"], len(data))
        for frame, data in client.stream(prompt=prompt, size="256x256", num_inference_steps=2, true_cfg_scale=1.0)
    ]
    if not images or not images[-1][0]:
        raise CheckError("The stream ended without a finished image.")
    return f"{len(images)} images, {sum(size for _, size in images)} bytes"


def main(arguments: list[str] | None = None) -> int:
    """Run the checks; return the exit status."""
    options = common_arguments("Check whether a server is reachable and can generate.").parse_args(arguments)
    client = Client(options.url, options.timeout, options.api_key)
    try:
        client.wait_until_ready(options.wait)
    except CheckError as error:
        complain(error)
        return 1
    checks: list[tuple[str, Callable[[], str]]] = [
        ("alive", lambda: check_address(client, "/livez")),
        ("ready", lambda: check_address(client, "/readyz")),
        ("health", lambda: check_health(client)),
        ("info", lambda: check_address(client, "/info")),
        ("status", lambda: check_optional_address(client, "/status")),
        ("models", lambda: check_optional_address(client, "/v1/models")),
        ("one-step image", lambda: check_generation(client, options.prompt)),
        ("short stream", lambda: check_stream(client, options.prompt)),
    ]
    return 0 if run_checks(checks) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
