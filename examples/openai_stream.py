"""Stream an image with the OpenAI SDK; --url names the server, else localhost:5000."""

import argparse
import base64
from pathlib import Path

from openai import APIConnectionError, OpenAI

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--url", default="http://localhost:5000", help="address of the server (%(default)s)")
URL = parser.parse_args().url
client = OpenAI(base_url=f"{URL}/v1", api_key="unused")

try:
    stream = client.images.generate(
        prompt="a red circle on a blue background",
        size="512x512",
        stream=True,
        partial_images=3,
        extra_body={"seed": 7},
    )
except APIConnectionError:
    raise SystemExit(f"No server answers at {URL}; start one with: bash start_server.sh") from None
for event in stream:
    data = base64.b64decode(event.b64_json)
    if event.type == "image_generation.partial_image":
        Path(f"partial_{event.partial_image_index}.png").write_bytes(data)
        print("partial", event.partial_image_index)
    else:
        Path("circle.png").write_bytes(data)
        print("done", event.size)

# An image to start from; without a mask the whole image changes, as far as `strength` allows.
edited = client.images.edit(
    image=("circle.png", Path("circle.png").read_bytes()),
    prompt="a yellow circle on a blue background",
    extra_body={"strength": 0.8},
)
Path("edited.png").write_bytes(base64.b64decode(edited.data[0].b64_json))
print("edited")
