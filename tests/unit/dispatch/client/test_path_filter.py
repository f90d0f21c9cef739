"""What the HTTP worker gets to know says nothing about the folders of the machine."""

import msgspec
import pytest

from imageserver.dispatch.client.path_filter import PathFilter
from imageserver.generation import Generation, ModelInfo, Outcome
from imageserver.protocol import messages
from imageserver.settings import Settings

FOLDER = "/data/my models/foo"
GENERATION = Generation(
    prompt="paint /etc/passwd", negative_prompt=" ", width=64, height=64, steps=1, true_cfg_scale=1.0, seed=0
)
STATUS = messages.JobStatus(
    id=1, dialect="native", state="failed", prompt="paint /etc/passwd", width=64, height=64, steps=1, n=1, seed=0,
    priority="normal", created_at=0.0,
)  # fmt: skip


@pytest.fixture
def paths(tmp_path):
    names = tmp_path / "models.toml"
    names.write_text('["night"]\nsource = "/data/all nights"\n')
    return PathFilter(
        Settings(
            _env_file=None, model=FOLDER, models_dir="/srv/models", lora_dir="/srv/loras", models_file=names,
            transformer_file="/srv/small ones/q4.gguf", text_encoder_path="/srv/encoders/llama 8b",
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("sentence", "shown"),
    [
        ("MODEL=/data/my models/foo was asked for.", "MODEL=foo was asked for."),
        ("/data/my models/foo/vae/x.safetensors, of 3 GB", "foo/vae/x.safetensors, of 3 GB"),
        ("Found in /data/all nights/vae.", "Found in night/vae."),
        ("it is not in /srv/models: set MODELS_DIR.", "it is not in MODELS_DIR: set MODELS_DIR."),
        ("/srv/models/Qwen/a.safetensors is damaged.", "MODELS_DIR/Qwen/a.safetensors is damaged."),
        ("/srv/loras/night.safetensors is damaged", "LORA_DIR/night.safetensors is damaged"),
        ("TRANSFORMER_FILE=/srv/small ones/q4.gguf does not exist.", "TRANSFORMER_FILE=q4.gguf does not exist."),
        ("/srv/encoders/llama 8b/config.json is missing", "llama 8b/config.json is missing"),
        ("/srv/models2/x is another folder", "x is another folder"),
        ("[Errno 2] No such file: '/home/Ann Smith/my x/y.bin'", "[Errno 2] No such file: 'y.bin'"),
        ('cannot open "/home/Ann Smith/y.bin"!', 'cannot open "y.bin"!'),
        ("(/opt/x/y.py), /opt/a,b/c; file:///opt/x/z.", "(y.py), c; z."),
        (r"D:\data\models\y.bin is damaged", "y.bin is damaged"),
    ],
)
def test_a_sentence_names_files_without_where_they_are(paths, sentence, shown):
    assert paths.shown(sentence) == shown


@pytest.mark.parametrize(
    "sentence",
    [
        "Qwen/Qwen-Image is not on the disk; POST /v1/models/load fetches it.",
        "https://huggingface.co/Qwen did not answer (http://localhost:5000/x).",
        "3/4 of 20 GB/s, n/a, and / or",
        "./models/foo and ~/models/foo",
    ],
)
def test_what_is_no_path_of_the_machine_stays(paths, sentence):
    assert paths.shown(sentence) == sentence


def test_every_message_of_the_dispatcher_is_without_paths_but_keeps_what_a_client_wrote(paths):
    sentence = "it is in /srv/secret/place"
    info = ModelInfo(name=FOLDER, source=FOLDER, reason=sentence, schedulers={"Euler": "/srv/secret/x"})
    failure = messages.Failed(job=1, code="internal_error", sentence=sentence)
    outcome = Outcome(
        width=1, height=1, seeds=(1,), inference_time=0.0, queue_time=0.0, batch_size=1, warnings=(sentence,)
    )
    failed = msgspec.structs.replace(STATUS, model="/srv/secret models/never loaded", error=sentence)
    for message in (
        messages.Snapshot(
            state="loading", reason=sentence, phase="loading", load_fraction=None, info=info, default=FOLDER,
            models=(info,), loaded=(FOLDER,), queue_length=0, active=0, total=0, completed=0, failed=0, cancelled=0,
            engine_restarts=0, queue_wait=0.0, dispatcher_pid=1, engine_pid=2,
        ),
        messages.ModelResponse(job=1, info=info),
        failure,
        messages.LorasLoaded(job=1, failure=failure),
        messages.Finished(job=1, outcome=outcome),
        messages.JobList(job=1, jobs=(failed,)),
        messages.JobEvent(job=1, number=1, name="failed", status=failed),
    ):  # fmt: skip
        shown = repr(paths.received(message)).replace(STATUS.prompt, "")
        assert not any(part in shown for part in ("/data", "my models", "/srv", "secret")), shown
    [status] = paths.received(messages.JobList(job=1, jobs=(failed,))).jobs
    assert (status.prompt, status.model) == (STATUS.prompt, "never loaded")


def test_a_message_without_paths_is_passed_on_as_it_is(paths):
    message = messages.JobList(job=1, jobs=(STATUS,))
    assert paths.received(message) is message


def test_the_dispatcher_hears_the_folder_of_a_model_that_a_client_names_by_its_last_name(paths):
    generation = msgspec.structs.replace(
        messages.Submit(job=1, generation=GENERATION, timeout=1.0),
        generation=Generation(**vars(GENERATION) | {"model": "foo"}),
    )
    assert paths.sent(generation).generation.model == FOLDER
    assert paths.sent(messages.ModelRequest(job=1, load="foo")).load == FOLDER
    assert paths.sent(messages.ModelRequest(job=1, unload="foo")).unload == FOLDER
    assert paths.sent(messages.LoraRequest(job=1, model="foo")).model == FOLDER
    assert paths.sent(messages.ModelRequest(job=1, load="Qwen/Qwen-Image")).load == "Qwen/Qwen-Image"


def test_a_broken_list_of_models_hides_the_paths_all_the_same(tmp_path):
    names = tmp_path / "models.toml"
    names.write_text("[")
    assert PathFilter(Settings(_env_file=None, models_file=names)).shown("in /srv/x.") == "in x."
