"""Generate and edit an image in a conversation with the OpenAI SDK; the server runs on localhost:5000."""

import base64
from pathlib import Path

from openai import OpenAI

client = OpenAI(base_url="http://localhost:5000/v1", api_key="unused")

# The name of a language model does no harm: the server has none, and the default image model is used.
first = client.responses.create(
    model="gpt-5",
    input="a red circle on a blue background",
    tools=[{"type": "image_generation", "size": "512x512"}],
)
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
