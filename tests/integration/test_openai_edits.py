"""The OpenAI SDK's edits and variations: an image goes in, by every way that clients send it."""

import base64
import re

import numpy as np
import openai
import pytest
import requests
from PIL import Image

from tests.support.images import coded, file_of, one_colour, opened, pixels
from tests.support.own_loop import run_in_own_loop

TEAL = [0, 128, 128]
# OpenAI has retired its own variations; the SDK still sends them.
old_but_sent = pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")


def mask(width: int = 96, height: int = 64) -> bytes:
    """Return a PNG whose left half is transparent: OpenAI's way of asking to regenerate it."""
    image = Image.new("RGBA", (width, height), (0, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, width // 2, height))
    return file_of(image)


def data_url(data: bytes) -> str:
    return "data:image/png;base64," + coded(data)


@pytest.fixture
def client(fake_server):
    with openai.OpenAI(base_url=fake_server.url + "/v1", api_key="unused", max_retries=0) as client:
        yield client


def post(server, path="edits", **body):
    return requests.post(f"{server.url}/v1/images/{path}", timeout=30, headers={"Connection": "close"}, **body)


def job_of(server, answer):
    return server.get(f"/v1/jobs/{answer._request_id}").json()


def test_an_edit_starts_from_the_image_and_has_its_size(client, fake_server):
    answer = client.images.edit(image=one_colour(), prompt="make it night")
    # The fake engine gives the image back as it came.
    assert (pixels(answer.data[0].b64_json) == TEAL).all()
    assert answer.size == "96x64"
    assert answer.usage.input_tokens_details.model_dump() == {"text_tokens": 3, "image_tokens": 100}
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens == 203
    assert job_of(fake_server, answer)["dialect"] == "openai"


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("generations", {"image_url": data_url(one_colour())}),
        ("generations", {"reference_images": [data_url(one_colour())], "stream": True}),
        ("", {"input_references": [{"type": "image_url", "image_url": {"url": data_url(one_colour())}}]}),
    ],
)
def test_a_generation_that_names_an_image_starts_from_it(fake_server, path, fields):
    answer = post(fake_server, path, json={"prompt": "make it night", **fields})
    assert answer.ok
    found = re.search(r'"b64_json": ?"([^"]+)"', answer.text)
    assert (pixels(found[1]) == TEAL).all()


@pytest.mark.parametrize("images", [[one_colour()], ("photo.png", one_colour(), "image/png")])
def test_a_list_of_one_and_a_named_file_are_one_image(client, images):
    assert client.images.edit(image=images, prompt="x").size == "96x64"


def test_several_images_are_put_side_by_side(client):
    answer = client.images.edit(image=[one_colour(), one_colour(colour="red")], prompt="x")
    generated = pixels(answer.data[0].b64_json)
    assert answer.size == "192x64"
    assert (generated[:, :96] == TEAL).all()
    assert (generated[:, 96:] == [255, 0, 0]).all()
    assert "the 2 that were sent were put side by side" in answer.warnings[0]


def test_a_mask_covers_the_first_of_several_images(demo_server):
    # White noise, so that anything generated differs from it.
    noise = file_of(Image.effect_noise((96, 64), 100).convert("RGB"))
    with openai.OpenAI(base_url=demo_server.url + "/v1", api_key="unused", max_retries=0) as client:
        answer = client.images.edit(
            image=[noise, noise], mask=mask(), prompt="a red circle", extra_body={"num_inference_steps": 2}
        )
    generated, kept = pixels(answer.data[0].b64_json), pixels(noise)
    assert (generated[:, 96:] == kept).all()
    assert (generated[:, :96] != kept).any()


def test_more_images_than_openai_takes_are_refused_with_the_limit(client):
    with pytest.raises(openai.BadRequestError, match="17 images were sent; the limit is 16") as raised:
        client.images.edit(image=[one_colour()] * 17, prompt="x")
    assert raised.value.param == "image"


def test_extras_of_a_form_keep_their_meaning_though_they_arrive_as_text(client, fake_server):
    extra = {
        "seed": 8,
        "strength": 0.25,
        "num_inference_steps": 8,
        "deterministic": True,
        "cache": False,
        "mood": "sad",
    }
    answer = client.images.edit(
        image=one_colour(), prompt="x", n=2, size="128x64", quality="high", output_format="jpeg", output_compression=80,
        background="auto", user="me", extra_body=extra,
    )  # fmt: skip
    assert [each.seed for each in answer.data] == [8, 9]
    assert {(opened(each.b64_json).format, opened(each.b64_json).size) for each in answer.data} == {("JPEG", (128, 64))}
    assert answer.warnings == ["'mood' is not a parameter and was ignored."]
    # A quarter of eight steps, for each of two images.
    assert job_of(fake_server, answer)["total_steps"] == 4


def test_what_changes_nothing_is_said(client):
    answer = client.images.edit(image=one_colour(), prompt="x", input_fidelity="high", extra_body={"markup": "circle"})
    assert answer.warnings == [
        "'markup' is not a parameter and was ignored.",
        "input_fidelity is ignored; use strength instead.",
    ]


def test_an_unknown_file_is_named(fake_server):
    files = {"image": ("a.png", one_colour()), "markup": ("b.png", one_colour())}
    answer = post(fake_server, data={"prompt": "x"}, files=files).json()
    assert answer["warnings"] == ["'markup' is not a parameter and was ignored."]


@pytest.mark.parametrize(
    "body",
    [
        {"images": [{"image_url": data_url(one_colour())}]},
        {"image": data_url(one_colour())},
        {"image": coded(one_colour())},
        {"image": [coded(one_colour())]},
        {"image": data_url(one_colour()), "mask": {"image_url": data_url(mask())}},
        {"image": data_url(one_colour()), "mask": data_url(mask())},
        {"image": data_url(one_colour()), "mask_image": data_url(mask())},
        {"image_url": data_url(one_colour())},
        {"url": [data_url(one_colour())]},
        {"image[]": [data_url(one_colour())]},
        {"images": [data_url(one_colour())]},
    ],
)
def test_an_edit_in_json_is_the_same_edit(fake_server, body):
    answer = post(fake_server, json={"prompt": "x", "model": "gpt-image-1", **body})
    assert answer.status_code == 200, answer.text
    assert (pixels(answer.json()["data"][0]["b64_json"]) == TEAL).all()


@pytest.mark.parametrize(
    ("body", "status", "param", "part"),
    [
        ({"image": data_url(one_colour())}, 400, "prompt", "required"),
        ({"prompt": "x"}, 400, "image", "missing"),
        ({"prompt": "x", "mask": data_url(mask())}, 400, "image", "missing"),
        ({"prompt": "x", "image": "?"}, 400, "image", "base64"),
        ({"prompt": "x", "images": [{"file_id": "file-1"}]}, 400, "image", "image_url"),
        # Counted before any of them is fetched.
        ({"prompt": "x", "images": [{"image_url": "http://127.0.0.1/a.png"}] * 17}, 400, "image", "17 images"),
        (
            {
                "prompt": "x",
                "images": [{"image_url": data_url(one_colour())}, {"image_url": "data:image/png;base64,aaaa"}],
            },
            400,
            "image[1]",
            "image[1]",
        ),
        ({"prompt": "x", "image": "http://127.0.0.1/a.png"}, 400, "image", "ALLOW_REMOTE_IMAGES"),
        ({"prompt": "x", "image": data_url(one_colour()), "mask": data_url(one_colour())}, 400, "mask", "alpha"),
        ({"prompt": "x", "image": data_url(one_colour()), "strength": 2}, 400, "strength", "less than"),
        ({"prompt": "x", "image": data_url(one_colour()), "n": "two"}, 400, "n", "integer"),
        ([], 400, None, "object"),
    ],
)
def test_wrong_edits_are_refused_by_name_in_openais_envelope(fake_server, body, status, param, part):
    answer = post(fake_server, json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (status, param), answer.text
    assert part in error["message"]
    assert error["type"] == "invalid_request_error"
    assert int(answer.headers["X-Request-Id"]) > 0


def test_a_form_names_its_images_and_its_mask_as_it_likes(fake_server):
    for name in ("url", "url[]", "image_url", "image"):
        answer = post(fake_server, data={"prompt": "x", name: data_url(one_colour())}, files={"mask_image": mask()})
        assert answer.status_code == 200, answer.text
        assert answer.json()["warnings"] == []
    answer = post(fake_server, data={"prompt": "x", "url[]": [data_url(one_colour())] * 2})
    assert answer.json()["size"] == "192x64"


def test_a_hole_in_the_image_is_the_mask(client, fake_server):
    image = Image.new("RGBA", (64, 64), (0, 0, 255, 255))
    image.paste((0, 0, 0, 0), (0, 0, 32, 64))
    answer = client.images.edit(image=file_of(image), prompt="x", extra_body={"num_inference_steps": 10})
    assert answer.warnings == ["image is partly transparent and has no mask: that part is regenerated."]
    # With a mask all steps are done.
    assert job_of(fake_server, answer)["total_steps"] == 10


def test_an_avif_is_edited_too(client):
    avif = file_of(Image.new("RGB", (96, 64), "teal"), "AVIF")
    assert np.abs(pixels(client.images.edit(image=avif, prompt="x").data[0].b64_json) - TEAL).max() < 5


def test_a_large_image_may_be_text_in_a_form(fake_server):
    noise = np.random.default_rng(0).integers(0, 255, (512, 512, 3), np.uint8)
    target = data_url(file_of(Image.fromarray(noise)))
    assert len(target) > 700_000
    answer = post(fake_server, data={"prompt": "x", "image": target}, files={"nothing": b""})
    assert answer.status_code == 200, answer.text
    assert (pixels(answer.json()["data"][0]["b64_json"]) == noise).all()


def test_an_edit_is_streamed_with_events_of_its_own(client):
    seen = list(client.images.edit(image=one_colour(), prompt="x", stream=True, partial_images=2))
    assert [event.type for event in seen] == ["image_edit.partial_image"] * 2 + ["image_edit.completed"]
    assert [type(event).__name__ for event in seen] == ["ImageEditPartialImageEvent"] * 2 + ["ImageEditCompletedEvent"]
    assert {opened(event.b64_json).size for event in seen} == {(96, 64)}
    assert seen[-1].usage.input_tokens_details.image_tokens == 100


def test_the_async_client_edits_as_well(fake_server):
    async def edit():
        async with openai.AsyncOpenAI(base_url=fake_server.url + "/v1", api_key="unused") as client:
            return await client.images.edit(image=one_colour(), mask=mask(), prompt="x")

    assert run_in_own_loop(edit()).size == "96x64"


@old_but_sent
def test_a_variation_needs_no_prompt_and_is_another_one_every_time(client, fake_server):
    first, second = (client.images.create_variation(image=one_colour(), n=2, size="64x64") for _ in range(2))
    assert first.size == "64x64"
    assert len({each.seed for answer in (first, second) for each in answer.data}) == 4
    assert job_of(fake_server, first)["prompt"] == " "


@old_but_sent
def test_a_variation_by_url_resolves(client):
    answer = client.images.create_variation(image=one_colour(), response_format="url")
    fetched = requests.get(answer.data[0].url, timeout=10, headers={"Connection": "close"})
    assert (fetched.status_code, fetched.headers["Content-Type"]) == (200, "image/png")


def test_a_variation_without_an_image_is_refused(fake_server):
    answer = post(fake_server, "variations", json={})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "image")


@pytest.fixture
def demo(demo_server):
    with openai.OpenAI(base_url=demo_server.url + "/v1", api_key="unused", max_retries=0) as client:
        yield client


def test_the_demo_model_generates_where_the_mask_is_transparent_and_keeps_the_rest_to_the_bit(demo):
    answer = demo.images.edit(
        image=one_colour(256, 256, "blue"), mask=mask(256, 256), prompt="a red circle on a green background"
    )
    generated = pixels(answer.data[0].b64_json)
    assert (generated[:, 128:] == [0, 0, 255]).all()
    assert np.abs(generated[:, :128] - [0, 0, 255]).mean() > 20


def test_the_demo_model_follows_the_prompt_of_an_edit_without_a_strength(demo):
    extra = {"seed": 5}
    source = demo.images.generate(prompt="a red circle on a blue background", size="256x256", extra_body=extra)
    image = base64.b64decode(source.data[0].b64_json)
    edited = demo.images.edit(image=image, prompt="a yellow circle on a black background", extra_body=extra)
    generated = pixels(edited.data[0].b64_json)
    middle, corner = generated[120:136, 120:136].mean((0, 1)), generated[:8].mean((0, 1))
    assert min(middle[:2]) > 150 > 110 > middle[2], "the circle is not yellow"
    assert corner.max() < 60, "the background is not black"


@old_but_sent
def test_the_demo_model_varies_an_image_and_stays_near_it(demo):
    distances = []
    for strength in (0.1, 1.0):
        extra = {"strength": strength, "seed": 1}
        answer = demo.images.create_variation(image=one_colour(256, 256, "blue"), extra_body=extra)
        distances.append(np.abs(pixels(answer.data[0].b64_json) - [0, 0, 255]).mean())
        assert answer.usage.input_tokens_details.text_tokens == 1
    assert 0.5 < distances[0] < distances[1] / 2


def test_an_image_is_enlarged_by_lanczos_alone_or_by_the_demo_model(demo_server):
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 96, 3), np.uint8))
    lanczos = np.asarray(image.resize((192, 128), Image.Resampling.LANCZOS)).astype(int)
    plain = post(demo_server, "upscale", json={"image": coded(image), "upscale_strength": 0}).json()
    assert plain["size"] == "192x128"
    assert (pixels(plain["data"][0]["b64_json"]) == lanczos).all()
    body = {"upscale": "2", "prompt": "a red circle", "num_inference_steps": "4", "seed": "1"}
    generated = post(demo_server, "upscale", data=body, files={"image": file_of(image)}).json()
    assert generated["size"] == "192x128"
    assert (pixels(generated["data"][0]["b64_json"]) != lanczos).any()
    refused = post(demo_server, "upscale", json={"image": coded(image), "upscale": 9})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "upscale")
