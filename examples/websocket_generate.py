"""Generate over a WebSocket with websocket-client; --url names the server, else localhost:5000."""

import argparse
import base64
import json
from contextlib import closing
from pathlib import Path

from websocket import create_connection

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--url", default="http://localhost:5000", help="address of the server (%(default)s)")
URL = parser.parse_args().url
REQUEST = {"prompt": "a red circle on a blue background", "seed": 7, "previews": 2}

try:
    opened = create_connection(f"{URL.replace('http', 'ws', 1)}/ws/generate", timeout=600)
except OSError:
    raise SystemExit(f"No server answers at {URL}; start one with: bash start_server.sh") from None
with closing(opened) as connection:
    connection.send(json.dumps(REQUEST))
    while True:
        frame = json.loads(connection.recv())
        match frame["type"]:
            case "progress":
                print(f"step {frame['step']} of {frame['total_steps']}")
            case "preview":
                Path(f"preview_{frame['index']}.jpg").write_bytes(base64.b64decode(frame["image_b64"]))
            case "result":
                Path("circle.png").write_bytes(base64.b64decode(frame["data"]["image_b64"]))
                print("done, seed", frame["data"]["seed"])
                break
            case "error":
                raise SystemExit(f"{frame['code']}: {frame['message']}")
