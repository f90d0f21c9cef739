"""No answer of a server tells where something is on the machine: every route, dialect and kind of error is tried."""

import json
from dataclasses import replace

import pytest
from websockets.sync.client import connect

from tests.integration.test_every_dialect import DIALECTS
from tests.support.images import one_colour
from tests.support.server import Server

SMALL = {"size": "64x64", "num_inference_steps": 1, "cache": False}
MODEL = "my model"


class Reader:
    """Asks a server, and reads everything that comes back for the folder that all of its files are in."""

    def __init__(self, server: Server, secret: str) -> None:
        self.server, self.secret = server, secret
        self.count = 0

    def read(self, content: bytes | str, asked: object) -> None:
        self.count += 1
        text = content if isinstance(content, str) else content.decode(errors="replace")
        assert self.secret not in text, (asked, text[:2000])

    def ask(self, method, path, **options):
        answer = self.server.ask(method, path, timeout=30, **options)
        self.read(answer.content, path)
        self.read(json.dumps(dict(answer.headers)), path)
        return answer

    def ask_everything(self) -> None:
        """Ask every address that takes no number or name, and a wrong one, and with a wrong body."""
        for path, methods in self.ask("GET", "/openapi.json").json()["paths"].items():
            for method in methods:
                if "stream" in path or method == "delete":
                    continue
                self.ask(method.upper(), path.replace("{", "").replace("}", ""), headers={"Accept": "*/*"})
        for wrong in (b"{", b"[]", b'{"model": 7}'):
            self.ask("POST", "/generate", data=wrong)

    def ask_in_every_dialect(self, prompt: str) -> set[int]:
        """Ask for an image, and return the statuses; what a client sent is not looked for."""
        dialects = [replace(each, path=each.path.replace("/models/fake", f"/models/{MODEL}")) for each in DIALECTS]
        answers = [each.ask(self.server, prompt, steps=1) for each in dialects]
        for answer in answers:
            self.read(answer.content, answer.url)
        with connect(f"ws://127.0.0.1:{self.server.port}/ws/generate", max_size=None) as connection:
            connection.send(json.dumps({"prompt": prompt} | SMALL))
            kind = ""
            while kind not in ("result", "error"):
                frame = connection.recv(timeout=10)
                self.read(frame, "websocket")
                kind = json.loads(frame)["type"]
        return {answer.status_code for answer in answers}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Where all of a server's files are."""
    return tmp_path_factory.getbasetemp()


def settings_below(place, **others):
    names = place / "private.toml"
    names.write_text(f'["registered"]\nsource = "{place}/some where/registered"\n')
    (place / "some where" / "registered").mkdir(parents=True, exist_ok=True)
    files = {"TRANSFORMER_FILE": f"{place}/a b/t.gguf", "CONTROLNET": f"{place}/a b/control"}
    folders = {"MODEL": f"{place}/some where/{MODEL}", "MODELS_DIR": f"{place}/models", "LORA_DIR": f"{place}/loras"}
    return files | folders | {"MODELS_FILE": str(names), "MODEL_LOADING": "any"} | others


@pytest.fixture(scope="module")
def reader(servers, place):
    sentence = f"[Errno 2] No such file: '{place}/some where/{MODEL}/x.bin', nor {place}/models/Qwen/y.bin."
    return Reader(servers(**settings_below(place, FAKE_SENTENCE=sentence)), str(place))


@pytest.mark.fault(31)
def test_no_answer_of_any_route_names_a_folder_of_the_machine(reader):
    reader.ask_everything()
    assert reader.count > 60
    assert reader.ask("GET", "/info").json()["model_name"] == MODEL


@pytest.mark.fault(31)
def test_no_failure_or_warning_in_any_dialect_names_a_folder_of_the_machine(reader):
    assert reader.ask_in_every_dialect("[warn] well") == {200}
    assert 500 in reader.ask_in_every_dialect("[fail] badly")
    failed = reader.ask("POST", "/generate", json={"prompt": "[fail] badly"} | SMALL).json()
    assert failed["error"] == f"[Errno 2] No such file: '{MODEL}/x.bin', nor MODELS_DIR/Qwen/y.bin."
    task = reader.ask("POST", "/submit", json={"prompt": "[fail] later", "resolution": "64x64"}).json()["task_id"]
    reader.server.wait_for(
        lambda: reader.ask("GET", f"/status/{task}").json()["status"] == "failed", "the failure of the task"
    )
    job = reader.ask("GET", "/v1/jobs").json()["data"][0]["id"]
    reader.ask("GET", f"/v1/jobs/{job}/events")
    reader.ask("GET", "/v1/jobs")
    assert f"{reader.secret}/some where/{MODEL}/x.bin" in reader.server.log, "the owner sees the whole path"


@pytest.mark.fault(31)
def test_a_model_that_is_a_folder_is_shown_and_chosen_by_its_last_name(reader):
    secret = reader.secret
    for name in (MODEL, f"{secret}/some where/{MODEL}"):
        answer = reader.server.generate("by name", model=name, size="64x64", num_inference_steps=1)
        assert answer.status_code == 200, answer.text
        reader.read(answer.content, name)
    for folder in ("one/more", "another/more", "some where/registered"):
        loaded = reader.ask("POST", "/v1/models/load", json={"model": f"{secret}/{folder}", "default": False})
        assert loaded.json()["loaded"], loaded.text
    listed = [model["id"] for model in reader.ask("GET", "/v1/models").json()["data"]]
    assert [name.partition("-")[0] for name in listed[:4]] == [MODEL, "more", "more", "registered"]
    assert len(set(listed)) == len(listed)
    for name in listed[1:3]:
        image = {"prompt": "by its name", "model": name} | SMALL
        assert reader.ask("POST", "/generate", json=image).status_code == 200
        assert reader.ask("POST", "/v1/models/unload", json={"model": name}).json()["loaded"] is False
    reader.ask_everything()


@pytest.mark.fault(31)
def test_a_server_whose_model_cannot_be_loaded_does_not_say_where_it_looked(servers, place):
    sentence = f"{place}/some where/{MODEL}/vae is damaged; OFFLINE=1 and it is not in {place}/models."
    server = servers(ready=False, **settings_below(place, FAKE_LOAD_FAIL=sentence))
    server.wait_for(lambda: server.health()["status"] == "degraded", "the failure")
    reader = Reader(server, str(place))
    assert server.health()["reason"] == f"{MODEL}/vae is damaged; OFFLINE=1 and it is not in MODELS_DIR."
    reader.ask_everything()
    assert reader.ask_in_every_dialect("nobody paints") == {503}
    reader.ask("POST", "/v1/images/edits", data={"prompt": "x"}, files={"image": ("a.png", one_colour())})
    assert sentence in server.log
