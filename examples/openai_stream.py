"""Stream an image with the OpenAI SDK; the server runs on localhost:5000 (bash start_server.sh)."""

import base64
from pathlib import Path

from openai import OpenAI

client = OpenAI(base_url="http://localhost:5000/v1", api_key="unused")

stream = client.images.generate(
    prompt="a red circle on a blue background", size="512x512", stream=True, partial_images=3, extra_body={"seed": 7}
)
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
