"""Generate and edit an image in a conversation with the OpenAI SDK; --url names the server, else localhost:5000."""

import argparse
import base64
from pathlib import Path

from openai import APIConnectionError, OpenAI

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--url", default="http://localhost:5000", help="address of the server (%(default)s)")
URL = parser.parse_args().url
client = OpenAI(base_url=f"{URL}/v1", api_key="unused")

# The name of a language model does no harm: the server has none, and the default image model is used.
try:
    first = client.responses.create(
        model="gpt-5",
        input="a red circle on a blue background",
        tools=[{"type": "image_generation", "size": "512x512"}],
    )
except APIConnectionError:
    raise SystemExit(f"No server answers at {URL}; start one with: bash start_server.sh") from None
second = client.responses.create(
    model="gpt-5",
    input="a yellow circle on a blue background",
    previous_response_id=first.id,
    tools=[{"type": "image_generation"}],
)
for name, response in (("first.png", first), ("second.png", second)):
    call = response.output[0]
    Path(name).write_bytes(base64.b64decode(call.result))
    print(name, call.action, response.output_text)
