"""In every dialect a blank text is a field left out, in JSON as in forms, and `seed: -1` is a random seed."""

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
import requests
from websockets.sync.client import connect

from tests.support.images import coded, one_colour
from tests.support.server import Server

Send = Callable[[Server, str, dict[str, Any]], Any]
NUMBERS = itertools.count()


def posted(path: str, body: Callable[[str, dict[str, Any]], dict[str, Any]], *, form: bool = False) -> Send:
    """Return what sends a body and checks that it was taken."""

    def send(server: Server, prompt: str, fields: dict[str, Any]) -> None:
        content = body(prompt, fields)
        answer = server.ask("POST", path, timeout=60, **{"data" if form else "json": content})
        assert answer.ok, answer.text

    return send


def flat(prompt: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {"prompt": prompt, "num_inference_steps": 4} | fields


def over_websocket(server: Server, prompt: str, fields: dict[str, Any]) -> None:
    with connect(f"ws://127.0.0.1:{server.port}/ws/generate", max_size=None) as connection:
        connection.send(json.dumps(flat(prompt, fields)))
        while (frame := json.loads(connection.recv(timeout=30)))["type"] != "result":
            assert frame["type"] != "error", frame


def as_native_task(server: Server, prompt: str, fields: dict[str, Any]) -> None:
    number = next(NUMBERS)
    path = f"/v1/tasks/00000000-0000-4000-8000-{number:012x}"
    answer = server.ask("PUT", path, json=flat(prompt, fields), timeout=60)
    assert answer.ok, answer.text


def over_mcp(server: Server, prompt: str, fields: dict[str, Any], tool: str = "generate_image") -> None:
    params = {"name": tool, "arguments": flat(prompt, fields)}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    answer = server.ask("POST", "/mcp", json=message, headers={"Accept": "application/json"}, timeout=60)
    assert answer.ok, answer.text
    assert not answer.json()["result"].get("isError"), answer.text


def edited_over_mcp(server: Server, prompt: str, fields: dict[str, Any]) -> None:
    over_mcp(server, prompt, with_image("", fields) | {"prompt": prompt}, "edit_image")


def with_image(prompt: str, fields: dict[str, Any]) -> dict[str, Any]:
    return flat(prompt, fields) | {"image": coded(one_colour())}


def in_cogview4s_stream(prompt: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {"size": "64x64", "stream": True, "stream_format": "cogview4"} | flat(prompt, fields)


def in_chat(prompt: str, fields: dict[str, Any]) -> dict[str, Any]:
    messages = [{"role": "user", "content": prompt}]
    return {"messages": messages, "modalities": ["image"], "num_inference_steps": 4} | fields


def in_a_tool(prompt: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {"input": prompt, "tools": [{"type": "image_generation", "num_inference_steps": 4} | fields]}


def in_parameters(prompt: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {"inputs": prompt, "parameters": {"num_inference_steps": 4} | fields}


def of_automatic1111(prompt: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {"prompt": prompt, "steps": 4} | fields


def over_an_image_of_automatic1111(prompt: str, fields: dict[str, Any]) -> dict[str, Any]:
    return of_automatic1111(prompt, fields) | {"init_images": [coded(one_colour())]}


def in_a_batch(prompt: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {"requests": [flat(prompt, fields)]}


OF_GENERATE = ("size", "seed", "n", "width", "height", "model", "loras", "true_cfg_scale", "output_format", "cache")
OF_TASKS = ("resolution", "seed", "num_images_per_prompt", "n", "webhook_url", "cache", "model")
OF_OPENAI = ("size", "seed", "n", "quality", "background", "output_format", "response_format", "true_cfg_scale")
OF_A_CONVERSATION = tuple(name for name in OF_OPENAI if name != "response_format")
OF_UPSCALING = tuple(name for name in OF_OPENAI if name != "background")
OF_HUGGING_FACE = ("seed", "width", "height", "guidance_scale", "prompt")
OF_AUTOMATIC1111 = ("seed", "width", "height", "cfg_scale", "styles", "override_settings", "scheduler", "send_images")
OF_MCP = ("size", "seed", "n", "model", "output_format", "background", "as_link")
# How a dialect is sent, and some of its fields.
DIALECTS: dict[str, tuple[Send, tuple[str, ...]]] = {
    "native": (posted("/generate", flat), OF_GENERATE),
    "native form": (posted("/generate", flat, form=True), OF_GENERATE),
    "WebSocket": (over_websocket, (*OF_GENERATE, "previews", "type")),
    "native tasks": (as_native_task, (*OF_GENERATE, "previews")),
    "tasks": (posted("/submit", flat), OF_TASKS),
    "batches of tasks": (posted("/batch_submit", in_a_batch), OF_TASKS),
    "OpenAI": (posted("/v1/images/generations", flat), OF_OPENAI),
    "OpenAI edits": (posted("/v1/images/edits", with_image), (*OF_OPENAI, "mask")),
    "OpenAI variations": (posted("/v1/images/variations", with_image), OF_OPENAI),
    "upscaling": (posted("/v1/images/upscale", with_image), (*OF_UPSCALING, "upscale", "upscale_strength")),
    "CogView4": (posted("/v1/images/generations", in_cogview4s_stream), ("seed", "n", "guidance_scale", "loras")),
    "chat": (posted("/v1/chat/completions", in_chat), OF_A_CONVERSATION),
    "Responses": (posted("/v1/responses", in_a_tool), OF_A_CONVERSATION),
    "Hugging Face": (posted("/models/fake", in_parameters), (*OF_HUGGING_FACE, "target_size")),
    "AUTOMATIC1111": (posted("/sdapi/v1/txt2img", of_automatic1111), (*OF_AUTOMATIC1111, "hr_scale")),
    "AUTOMATIC1111 img2img": (
        posted("/sdapi/v1/img2img", over_an_image_of_automatic1111), (*OF_AUTOMATIC1111, "mask", "resize_mode"),
    ),
    "MCP": (over_mcp, OF_MCP),
    "MCP edits": (edited_over_mcp, (*OF_MCP, "mask", "strength")),
}  # fmt: skip
ALL = pytest.mark.parametrize("dialect", DIALECTS)


def finished_job(server: Server, prompt: str) -> dict[str, Any]:
    """Return the finished job with this prompt, for which the answer of a task does not wait."""
    server.wait_for(lambda: server.job_with(prompt)["state"] == "completed", "the image")
    return server.job_with(prompt)


@ALL
@pytest.mark.parametrize("blank", ["", " \n"], ids=["empty", "white"])
def test_a_blank_field_is_a_field_left_out(fake_server, dialect, blank):
    send, names = DIALECTS[dialect]
    jobs = []
    for kind, fields in (("none", {}), ("blank", dict.fromkeys(names, blank))):
        prompt = f"blanks {next(NUMBERS)} {kind} in {dialect}"
        send(fake_server, prompt, fields)
        jobs.append(finished_job(fake_server, prompt))
    same = ("width", "height", "steps", "n", "model", "priority")
    assert [jobs[0][name] for name in same] == [jobs[1][name] for name in same]
    seeds_are_fixed = dialect.startswith(("native", "WebSocket"))
    assert (jobs[0]["seed"] == jobs[1]["seed"]) == seeds_are_fixed


@ALL
def test_a_seed_of_minus_one_is_another_seed_every_time(fake_server, dialect):
    send, _ = DIALECTS[dialect]
    seeds = set()
    for _ in range(2):
        prompt = f"random {next(NUMBERS)} in {dialect}"
        send(fake_server, prompt, {"seed": -1})
        seeds.add(finished_job(fake_server, prompt)["seed"])
    assert len(seeds) == 2
    assert 42 not in seeds
    assert min(seeds) >= 0


@pytest.mark.parametrize("blank", ["", " \n"], ids=["empty", "white"])
def test_blank_parameters_of_hugging_face_are_none(fake_server, blank):
    prompt = f"no parameters {next(NUMBERS)}"
    answer = fake_server.ask("POST", "/models/fake", json={"inputs": prompt, "parameters": blank}, timeout=60)
    assert answer.ok, answer.text
    assert finished_job(fake_server, prompt)["n"] == 1


def test_a_required_field_that_is_blank_is_still_missing(fake_server):
    for body in ({"prompt": ""}, {"prompt": " \n"}):
        answer = requests.post(f"{fake_server.url}/generate", json=body, timeout=20)
        assert (answer.status_code, answer.json()["param"]) == (400, "prompt")
