"""Baseline c, LitServe: `python -m benchmarks.servers.litserve_api PORT BATCH`; a batch is one `pipe()` call.

Only requests with equal steps, size and guidance fit into one call; a batch of mixed ones takes one call per kind.
"""

import sys
import time
from typing import Any

# LitServe starts its MCP server wherever `mcp` is installed, as it is here, and fails without fastmcp.
sys.modules["mcp"] = None  # type: ignore[assignment]

import litserve  # noqa: E402
from fastapi import Response  # noqa: E402

from benchmarks.servers.generating import Wanted, finish, generate, load_pipeline, read  # noqa: E402

BATCH_TIMEOUT = 0.05


class ImageApi(litserve.LitAPI):  # type: ignore[misc]
    """Serves the pipeline, one request or one batch at a time."""

    def setup(self, device: str) -> None:
        self.pipeline = load_pipeline()

    def decode_request(self, request: dict[str, Any]) -> Wanted:
        return read(request)

    def batch(self, inputs: list[Wanted]) -> list[Wanted]:
        return inputs

    def predict(self, inputs: Any) -> Any:
        began = time.monotonic()
        if isinstance(inputs, Wanted):
            return (generate(self.pipeline, [inputs])[0], began)
        groups: dict[Any, list[int]] = {}
        for index, wanted in enumerate(inputs):
            groups.setdefault(wanted.batch_key, []).append(index)
        images: dict[int, Any] = {}
        for indexes in groups.values():
            generated = generate(self.pipeline, [inputs[index] for index in indexes])
            images |= dict(zip(indexes, generated, strict=True))
        return [(images[index], began) for index in range(len(inputs))]

    def unbatch(self, output: list[Any]) -> list[Any]:
        return output

    def encode_response(self, output: Any) -> Response:
        return Response(content=finish(*output), media_type="image/png")


def main(port: int, batch: int) -> None:
    """Serve until the process is told to stop."""
    api = ImageApi(max_batch_size=batch, batch_timeout=BATCH_TIMEOUT if batch > 1 else 0.0, api_path="/generate")
    server = litserve.LitServer(api, accelerator="cpu", devices=1, timeout=600)
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
