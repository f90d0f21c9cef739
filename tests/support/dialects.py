"""The ways to ask for an image, each with the shape of its errors."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import requests

from tests.support.images import coded, one_colour
from tests.support.server import Server


@dataclass(frozen=True)
class Dialect:
    """One way to ask for an image; `sentence` reads an error's sentence out of its own shape."""

    name: str
    path: str
    json: Callable[[str, int], dict[str, Any]]
    sentence: Callable[[dict[str, Any]], str]
    files: dict[str, Any] | None = None

    def ask(
        self, server: Server, prompt: str, steps: int = 4, headers: dict[str, str] | None = None
    ) -> requests.Response:
        body = self.json(prompt, steps)
        sent = {"json": body} if self.files is None else {"data": body, "files": self.files}
        return server.ask("POST", self.path, headers=headers, timeout=60, **sent)


def openai(prompt: str, steps: int) -> dict[str, Any]:
    return {"prompt": prompt, "size": "64x64", "num_inference_steps": steps, "cache": False}


def automatic1111(prompt: str, steps: int) -> dict[str, Any]:
    return {"prompt": prompt, "width": 64, "height": 64, "steps": steps}


def openai_sentence(answer: dict[str, Any]) -> str:
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    return str(answer["error"]["message"])


def cogview4_sentence(answer: dict[str, Any]) -> str:
    assert set(answer) == {"error", "timestamp", "code", "param"}
    return str(answer["error"])


def automatic1111_sentence(answer: dict[str, Any]) -> str:
    assert {"error", "detail", "body", "errors"} <= set(answer)
    return str(answer["errors"] or answer["detail"])


FILE = {"image": ("a.png", one_colour(), "image/png")}
DIALECTS = [
    Dialect(
        "native", "/generate",
        lambda prompt, steps: {"prompt": prompt, "size": "64x64", "num_inference_steps": steps, "cache": False},
        lambda answer: answer["error"],
    ),
    Dialect("openai", "/v1/images/generations", openai, openai_sentence),
    Dialect("openai stream", "/v1/images/generations", lambda *a: openai(*a) | {"stream": True}, openai_sentence),
    Dialect("openai edit", "/v1/images/edits", openai, openai_sentence, FILE),
    Dialect(
        "chat", "/v1/chat/completions",
        lambda prompt, steps: {
            "messages": [{"role": "user", "content": prompt}], "modalities": ["image"], "size": "64x64",
            "num_inference_steps": steps, "cache": False,
        },
        openai_sentence,
    ),
    Dialect(
        "responses", "/v1/responses",
        lambda prompt, steps: {
            "input": prompt,
            "tools": [
                {"type": "image_generation", "size": "64x64", "num_inference_steps": steps, "cache": False},
            ],
        },
        openai_sentence,
    ),
    Dialect(
        "cogview4", "/v1/images/generations",
        lambda *a: openai(*a) | {"stream": True, "stream_format": "cogview4"}, cogview4_sentence,
    ),
    Dialect(
        "hugging face", "/models/fake",
        lambda prompt, steps: {
            "inputs": prompt, "parameters": {"num_inference_steps": steps, "width": 64, "height": 64},
        },
        lambda answer: answer["error"],
    ),
    Dialect("automatic1111", "/sdapi/v1/txt2img", automatic1111, automatic1111_sentence),
    Dialect(
        "automatic1111 img2img", "/sdapi/v1/img2img",
        lambda *a: automatic1111(*a) | {"init_images": [coded(one_colour())], "denoising_strength": 1.0},
        automatic1111_sentence,
    ),
]  # fmt: skip
TASKS = Dialect(
    "tasks", "/submit",
    lambda prompt, steps: {"prompt": prompt, "resolution": "64x64", "num_inference_steps": steps},
    lambda answer: answer["error"],
)  # fmt: skip
