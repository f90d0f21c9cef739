"""Request images with the `requests` package; --url names the server, which runs on localhost:5000 otherwise."""

import argparse
from pathlib import Path

import requests

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--url", default="http://localhost:5000", help="address of the server (%(default)s)")
URL = parser.parse_args().url


def generate(prompt: str, **parameters: object) -> requests.Response:
    """Return the server's answer; exits with the server's sentence if it refuses."""
    try:
        answer = requests.post(f"{URL}/generate", json={"prompt": prompt, **parameters}, timeout=660)
    except requests.ConnectionError:
        raise SystemExit(f"No server answers at {URL}; start one with: bash start_server.sh") from None
    if not answer.ok:
        raise SystemExit(f"{answer.status_code}: {answer.json()['error']}")
    return answer


# One image as bytes; the headers say how it was generated.
answer = generate("a red circle on a blue background", seed=7)
Path("circle.png").write_bytes(answer.content)
print("seed", answer.headers["X-Seed"], "took", answer.headers["X-Inference-Time"], "s")

# Saved by the server: the answer is JSON, and `url` gives the bytes.
saved = generate("a white house on green grass", aspect_ratio="16:9", save_to_file=True).json()
print(saved["file_path"], f"{saved['width']}x{saved['height']}")
Path("house.png").write_bytes(requests.get(saved["url"], timeout=60).content)

# `null` chooses a random seed, which the answer names, so that you can generate the image again.
surprise = generate("a yellow star on a black background", seed=None, add_overlay=False)
Path("star.png").write_bytes(surprise.content)
print("generate it again with seed", surprise.headers["X-Seed"])
