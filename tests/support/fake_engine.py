"""An engine without torch: timed, seeded and failable, speaking the real protocol to the real dispatcher.

Prompts steer it: `[step=0.2]` seconds per step, `[die]` kills the process at the first step, `[lost]` ends it as a lost
device does, `[fail]` fails the job, `[oom]` fails it with out_of_memory, `[stop]` falls silent, `[warn]` warns;
`FAKE_SENTENCE` is what it then says. It calls itself by `MODEL` where that is a folder, generates from `FAKE_KINDS` and
then sees `FAKE_MAX_IMAGES`, or separates an image into `FAKE_LAYERS` layers. `FAKE_LOAD` is the load time in seconds,
`FAKE_LOAD_FAIL` a sentence to fail loading with, `FAKE_CRASH` ends the process while loading, `FAKE_LOAD_HANG` names a
file that the load makes and then hangs, unless it is there already. `FAKE_IN_FLIGHT` is how many jobs it takes at a
time (it runs them one after the other all the same). Another model than the first one loads for `FAKE_LOAD_MODEL`
seconds, half of them after it has said how far it is; `FAKE_LOAD_MODEL_DIE` ends the process in the middle of it. An
image that starts from another is that one, unchanged; others are of one colour, the seed's, or of `[noise]`. Previews
are of 2 x 2 pixels. With `FAKE_ENHANCES` it writes better prompts, with `FAKE_CAPTIONS` captions. Every word is a
token, and every image a hundred.
"""

import dataclasses
import os
import queue
import random
import re
import signal
import threading
import time
from pathlib import Path

from imageserver.errors import Cancelled, GenerationFailed, OutOfMemory
from imageserver.generation import POSITIVE_MAGIC, DeviceInfo, Generation, ModelInfo, Outcome, StageSeconds
from imageserver.protocol.channel import Channel
from imageserver.protocol.engine_config import read_engine_config
from imageserver.protocol.messages import (
    AnyMessage,
    Cancel,
    FetchModel,
    Finished,
    Hello,
    LoadFailed,
    LoadModel,
    LoadProgress,
    LoraRequest,
    LorasLoaded,
    ModelFetched,
    ModelsLoaded,
    Ping,
    Pong,
    Preview,
    Progress,
    Ready,
    Run,
    Started,
    TokenCountRequest,
    TokenCounts,
    UnloadModel,
    failed,
)

INFO = ModelInfo(
    name="fake", family="fake", reason="The tests asked for it.", scheduler="FakeScheduler", parameters=1, size_mb=1.0,
    device=DeviceInfo(memory_mb=1.0), pid=os.getpid(), positive_magic=POSITIVE_MAGIC, sampler="FakeScheduler",
    schedulers={"FakeScheduler": "FakeScheduler"}, enhances="FAKE_ENHANCES" in os.environ,
    captions="FAKE_CAPTIONS" in os.environ,
)  # fmt: skip
# What the real engine exits with.
LOST_STATUS = 70
SENTENCE = os.environ.get("FAKE_SENTENCE", "The fake engine was told to fail.")


class FakeEngine:
    """Runs one job at a time, as slowly and as badly as the prompts say."""

    def __init__(self) -> None:
        config = read_engine_config()
        address, model = config.address, config.settings.model
        self.info = dataclasses.replace(INFO, name=model, source=model) if Path(model).is_absolute() else INFO
        if kinds := os.environ.get("FAKE_KINDS"):
            max_images = int(os.environ.get("FAKE_MAX_IMAGES", "1"))
            layers = int(os.environ.get("FAKE_LAYERS", "0"))
            self.info = dataclasses.replace(
                self.info, kinds=tuple(kinds.split(",")), max_images=max_images, layers=layers
            )
        try:
            self.channel = Channel(address.connect())
            self.channel.send(Hello(role="engine", key=address.key, pid=os.getpid()))
        except OSError:
            raise SystemExit("The dispatcher is gone; the fake engine ends.") from None
        self.inbox: queue.SimpleQueue[tuple[AnyMessage, bytes]] = queue.SimpleQueue()
        self.cancelled: set[int] = set()
        self.loras: set[str] = set()
        self.models = [self.info.name]
        threading.Thread(target=self.read, daemon=True).start()

    def read(self) -> None:
        for message, raw in self.channel:
            if isinstance(message, Cancel):
                self.cancelled.add(message.job)
            self.inbox.put((message, raw))
        os._exit(0)

    def serve(self) -> None:
        self.channel.send(LoadProgress(phase="loading", sentence="The fake model is loading.", fraction=0.5))
        time.sleep(float(os.environ.get("FAKE_LOAD", "0")))
        if (hung := os.environ.get("FAKE_LOAD_HANG")) and not Path(hung).exists():
            Path(hung).touch()
            threading.Event().wait()
        if "FAKE_CRASH" in os.environ:
            os._exit(3)
        if sentence := os.environ.get("FAKE_LOAD_FAIL"):
            self.channel.send(LoadFailed(sentence=sentence))
            self.inbox.get()
        self.channel.send(Ready(info=self.info))
        while True:
            message, raw = self.inbox.get()
            self.receive(message, raw)

    def receive(self, message: AnyMessage, raw: bytes) -> None:
        match message:
            case Ping():
                self.channel.send(Pong())
            case TokenCountRequest():
                words = len(message.generation.prompt.split())
                self.channel.send(TokenCounts(job=message.job, prompt_tokens=words, image_tokens=4))
            case LoraRequest():
                if message.load is not None:
                    self.loras.add(message.load.name)
                self.loras.discard(message.unload or "")
                self.channel.send(LorasLoaded(job=message.job, names=tuple(self.loras)))
            case FetchModel():
                threading.Thread(target=self.fetch, args=(message,), daemon=True).start()
            case LoadModel():
                self.load(message)
            case UnloadModel():
                self.models = [name for name in self.models if name != message.name]
                self.report_loaded(message.job)
            case Run():
                self.run(message.job, message.generation, raw)

    def fetch(self, message: FetchModel) -> None:
        """Let a model's files arrive: FAKE_FETCH="far:3" within 3 seconds for the one called far, others at once."""
        slow, _, seconds = os.environ.get("FAKE_FETCH", "").partition(":")
        for tenth in range(10 if message.name == slow else 0):
            progress = LoadProgress(
                job=message.job, phase="downloading", sentence=f"{message.name} arrives.", fraction=tenth / 10
            )
            self.channel.send(progress)
            time.sleep(float(seconds) / 10)
        self.channel.send(ModelFetched(job=message.job))

    def load(self, message: LoadModel) -> None:
        pause = float(os.environ.get("FAKE_LOAD_MODEL", "0")) / 2
        time.sleep(pause)
        progress = LoadProgress(job=message.job, phase="loading", sentence=f"{message.name} is loading.", fraction=0.5)
        self.channel.send(progress)
        time.sleep(pause)
        if "FAKE_LOAD_MODEL_DIE" in os.environ:
            os._exit(3)
        self.models.append(message.name)
        self.report_loaded(message.job)

    def report_loaded(self, job: int) -> None:
        models = tuple(dataclasses.replace(self.info, name=name) for name in self.models)
        self.channel.send(ModelsLoaded(job=job, models=models))

    def run(self, job: int, generation: Generation, source: bytes) -> None:
        prompt, began = generation.prompt, time.monotonic()
        self.channel.send(Started(job=job))
        pace = re.search(r"\[step=([\d.]+)\]", prompt)
        total = generation.generated_steps * generation.count
        for step in range(total):
            time.sleep(float(pace.group(1)) if pace else 0.001)
            if "[die]" in prompt:
                os.kill(os.getpid(), signal.SIGKILL)
            if "[lost]" in prompt:
                os._exit(LOST_STATUS)
            if "[stop]" in prompt:
                os.kill(os.getpid(), signal.SIGSTOP)
            if job in self.cancelled:
                self.channel.send(failed(job, Cancelled("The generation was cancelled.")))
                return
            if "[fail]" in prompt:
                self.channel.send(failed(job, GenerationFailed(SENTENCE)))
                return
            if "[oom]" in prompt:
                self.channel.send(failed(job, OutOfMemory("The fake device is full.")))
                return
            self.channel.send(Progress(job=job, step=step + 1, total=total))
            self.show(job, generation, step)
        width, height = generation.answer_size
        layers = self.layers_of(generation)
        outcome = Outcome(
            width=width,
            height=height,
            seeds=tuple(generation.seed + index for index in range(generation.count) for _ in range(max(1, layers))),
            inference_time=time.monotonic() - began,
            queue_time=0.0,
            batch_size=1,
            device_time=time.monotonic() - began,
            stage_seconds=StageSeconds(denoise=time.monotonic() - began),
            prompt_tokens=len(prompt.split()),
            image_tokens=100 * generation.count,
            warnings=(SENTENCE,) if "[warn]" in prompt else (),
            revised_prompt=revised(generation),
            caption=f"a {generation.caption} about {width}x{height}" if generation.caption else "",
            layers=max(1, layers),
            channels=4 if layers else 3,
        )
        size = width * height * 3
        image = b"" if generation.upscale else source[:size]
        image = image or bytes([generation.seed % 256]) * size
        images = image * generation.count
        if layers:
            # Each of its own colour in its own column, and transparent elsewhere.
            images = b"".join(layer_of(number, layers, width, height) for number in range(layers)) * generation.count
        if "[noise]" in prompt:
            images = b"".join(random.Random(seed).randbytes(size) for seed in outcome.seeds)
        self.channel.send(Finished(job=job, outcome=outcome), images)

    def layers_of(self, generation: Generation) -> int:
        return (generation.layers or self.info.layers) if self.info.layers else 0

    def show(self, job: int, generation: Generation, step: int) -> None:
        index, step = divmod(step, generation.generated_steps)
        if step + 1 in preview_steps(generation):
            total, scale = generation.generated_steps, -(-max(generation.width, generation.height) // 2)
            preview = Preview(job=job, index=index, step=step + 1, total=total, width=2, height=2, scale=scale)
            self.channel.send(preview, bytes([generation.seed % 256]) * 12)


def revised(generation: Generation) -> str:
    """Return the better prompt, which with `FAKE_ENHANCES` is written where it has not been yet."""
    wanted = generation.enhancement
    if wanted is None:
        return ""
    return wanted.fitted(wanted.revised or (f"a better {wanted.prompt}" if INFO.enhances else ""))


def layer_of(number: int, layers: int, width: int, height: int) -> bytes:
    """Return a layer with one opaque column, RGBA."""
    opaque, clear = bytes([40 * (1 + number) % 256, 90, 160, 255]), bytes(4)
    row = b"".join(opaque if x * layers // width == number else clear for x in range(width))
    return row * height


def preview_steps(generation: Generation) -> set[int]:
    """Return the steps after which the real engine would send a preview."""
    steps, wanted = generation.generated_steps, generation.previews
    return {round(k * steps / (wanted + 1)) for k in range(1, wanted + 1)} - {0, steps}


if __name__ == "__main__":
    try:
        FakeEngine().serve()
    except ConnectionError:
        # It was killed while an image was under way.
        raise SystemExit("The dispatcher is gone; the fake engine ends.") from None
