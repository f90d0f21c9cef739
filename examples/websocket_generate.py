"""Generate over a WebSocket with websocket-client; the server runs on localhost:5000 (bash start_server.sh)."""

import base64
import json
from contextlib import closing
from pathlib import Path

from websocket import create_connection

REQUEST = {"prompt": "a red circle on a blue background", "seed": 7, "previews": 2}

with closing(create_connection("ws://localhost:5000/ws/generate", timeout=600)) as connection:
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
