"""A client of AUTOMATIC1111 for tests, and what is read out of its answers."""

import base64
import io
import json

import requests
from PIL import Image

from tests.support.images import file_of
from tests.support.server import Server, in_background


class Automatic1111Client:
    """A client at one address of this machine."""

    def __init__(self, server: Server, address: str = "127.0.0.1", **headers: str) -> None:
        self.server = server
        self.address = address
        self.headers = {"Connection": "close"} | headers

    def ask(self, method: str, path: str, **options):
        with requests.Session() as session:
            adapter = requests.adapters.HTTPAdapter()
            adapter.init_poolmanager(1, 1, source_address=(self.address, 0))
            session.mount("http://", adapter)
            return session.request(method, self.server.url + path, headers=self.headers, timeout=60, **options)

    def get(self, path: str, **query: str):
        return self.ask("GET", path, params=query)

    def post(self, path: str, body=None):
        return self.ask("POST", path, json=body)

    def generate(self, prompt: str, **fields):
        return self.post("/sdapi/v1/txt2img", {"prompt": prompt, "width": 64, "height": 64, "steps": 4} | fields)

    def start_generating(self, prompt: str, **fields):
        return in_background(self.generate, prompt, **fields)

    def progress(self, **query: str):
        return self.get("/sdapi/v1/progress", **query).json()

    def wait_until_busy(self, steps: int = 0) -> None:
        self.server.wait_for(
            lambda: (state := self.progress()["state"])["job_count"] and state["sampling_step"] >= steps, "the request"
        )

    def wait_until_idle(self) -> None:
        self.server.wait_for(lambda: self.progress()["state"]["job_count"] == 0, "idleness")


def files_of(answer) -> list[bytes]:
    assert answer.status_code == 200, answer.text
    texts = answer.json()["images"]
    assert not any("," in text for text in texts)  # no data URLs: Open WebUI splits there
    return [base64.b64decode(text, validate=True) for text in texts]


def images_of(answer) -> list[Image.Image]:
    return [Image.open(io.BytesIO(data)) for data in files_of(answer)]


def info_of(answer):
    info = answer.json()["info"]
    assert isinstance(info, str)
    return json.loads(info)


def text_of(image: Image.Image, prefix: str = "") -> str:
    return prefix + base64.b64encode(file_of(image)).decode()


def job_of(server: Server, answer) -> dict:
    return server.get(f"/v1/jobs/{answer.headers['X-Request-Id']}").json()
