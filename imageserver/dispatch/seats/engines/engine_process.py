"""Keeps one engine process alive: starts it, receives its messages, replaces it when it dies or falls silent.

Engines are started with exec, never forked: a forked child of a torch process hangs.
"""

import asyncio
import dataclasses
import logging
import os
import secrets
import sys
from pathlib import Path

from imageserver.dispatch.jobs import Listener
from imageserver.dispatch.seats.configuration.seat_config import SeatConfig
from imageserver.dispatch.seats.engines.engine_events import EngineEvents
from imageserver.dispatch.seats.engines.engine_questions import EngineQuestions
from imageserver.dispatch.seats.engines.initial_models import InitialModels
from imageserver.dispatch.seats.engines.machine_choices import MachineChoices
from imageserver.dispatch.seats.engines.memory_share import MemoryShare
from imageserver.dispatch.seats.engines.usage_total import UsageTotal
from imageserver.dispatch.seats.signs_of_life.engine_watchdog import EngineWatchdog
from imageserver.dispatch.seats.signs_of_life.load_watchdog import LoadWatchdog
from imageserver.dispatch.streams import Peer
from imageserver.dispatch.tasks import Tasks
from imageserver.errors import EngineUnavailable
from imageserver.generation import ModelInfo
from imageserver.protocol import child_process, messages
from imageserver.protocol.channel import Address
from imageserver.protocol.engine_config import EngineConfig
from imageserver.protocol.initial_model import InitialModel
from imageserver.settings import Settings

logger = logging.getLogger(__name__)

MAX_LOAD_FAILURES = 5
FIRST_BACKOFF_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 30.0
STOP_GRACE_SECONDS = 3.0
# An engine that has lost its connection, or was told that it failed, frees its memory and ends.
UNCONNECTED_SECONDS = 10.0
# Phases of a model's load during which other models generate: its files arrive; it waits for those images.
DOWNLOADING, WAITING = "downloading", "waiting"
DIED = "The engine died."


class EngineProcess:
    """One supervised engine process.

    `state` is `loading`, `ready`, `silent`, `idle`, `restarting` or `failed`; `reason` says why in one sentence. It
    `is_resting` from its end for want of requests until the next engine has its model.
    """

    _events: EngineEvents

    def __init__(
        self, settings: Settings, address: Address, config: SeatConfig, model_file: Path | None = None,
        choices: MachineChoices | None = None,
    ) -> None:  # fmt: skip
        """Run engines one by one; what MODEL=auto meant is kept in `model_file`, for other machines in `choices`."""
        self._settings = settings.model_copy(update={"device": config.device})
        self._config = config
        self._address = address
        clock = asyncio.get_running_loop().time
        self._watchdog = EngineWatchdog(settings.step_timeout, clock)
        self._load_watchdog = LoadWatchdog(settings.load_stall_timeout, clock)
        self._process: asyncio.subprocess.Process | None = None
        self._peer: Peer | None = None
        self._ending: asyncio.Task[None] | None = None
        self._stopping = False
        self._token = ""
        self._silent = False
        self._end = DIED
        self._is_retiring = False
        self._awake = asyncio.Event()
        self._running = MemoryShare()
        self.state = "loading"
        self.phase = "starting"
        self.reason = "The engine process is starting."
        self.fraction: float | None = None
        self.ready: messages.Ready | None = None
        self.is_resting = False
        self.restarts = 0
        # Where the engine is, if that is another machine, and on which device.
        self.machine = ""
        self.usage = UsageTotal()
        self.initial_models = InitialModels(model_file, choices)
        # How far the load of another model has come beside the first one.
        self.load_progress: messages.LoadProgress | None = None
        self._questions = EngineQuestions()
        self._changes: set[int] = set()  # numbers of the loads and unloads that are still to be answered

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self._process.returncode is None else None

    @property
    def is_ready(self) -> bool:
        """Whether there is an engine that accepts jobs and questions."""
        if self._stopping or self._is_retiring:
            return False
        return self.state == "ready" and self.ready is not None and self._peer is not None

    @property
    def is_asked(self) -> bool:
        """Whether an answer of the engine is still to come."""
        return bool(self._questions)

    def has_room(self, info: ModelInfo | None) -> bool:
        """Return whether another job of a model may be sent now.

        `max_in_flight` images' worth of memory is begun at a time.
        """
        return self.is_ready and info is not None and self._running.images < info.device.max_in_flight

    async def supervise(self, events: EngineEvents) -> None:
        """Run engines, one after the other, until `stop` or until loading has failed too often."""
        self._events = events
        failures = 0
        beside = Tasks()
        beside.start(self._watch())
        try:
            while not self._stopping:
                was_ready = await self._run_once()
                if self._is_over():
                    return
                if self.state == "idle":
                    self._events.engine_changed()  # its process was still there when the state changed
                    await self._awake.wait()
                    continue
                self.is_resting = False
                failures = 0 if was_ready else failures + 1
                if failures >= MAX_LOAD_FAILURES:
                    self.initial_models.forget(self.machine)
                    self._set_state("failed", "failed", f"The engine died {failures} times while loading; see the log.")
                    self._events.engine_lost(silent=False)
                    return
                self.restarts += 1
                pause = 0.0 if failures == 0 else min(MAX_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** (failures - 1))
                self._set_state("restarting", "restarting", f"{self._end} A new one starts in {pause:g} s.")
                self._events.engine_lost(silent=self._silent)
                await asyncio.sleep(pause)
        finally:
            await beside.stop()

    async def stop(self) -> None:
        """End the engine for good."""
        self._stopping = True
        self._awake.set()
        await self._end_process()

    def rest(self, reason: str) -> None:
        """End the engine until `wake`; only while it has no jobs."""
        self._awake.clear()
        self.is_resting = True
        self._set_state("idle", "idle", reason)
        self._events.engine_lost(silent=False)
        self._ending = asyncio.create_task(self._end_process())

    def wake(self) -> None:
        """Let the next engine start where this one rests."""
        self._awake.set()

    async def _end_unconnected(self) -> None:
        """Kill a process that outlives its connection: it can be given nothing, and nobody else would end it."""
        process = self._process
        if process is None:
            return
        try:
            await asyncio.wait_for(process.wait(), UNCONNECTED_SECONDS)
        except TimeoutError:
            logger.error("The engine process %d has lost its connection and goes on; it is killed.", process.pid)
            child_process.kill(process)

    async def _end_process(self) -> None:
        """End the process: politely, then by force."""
        process = self._process
        if process is None:
            return
        child_process.terminate(process)
        try:
            await asyncio.wait_for(process.wait(), STOP_GRACE_SECONDS)
        except TimeoutError:
            child_process.kill(process)
            await process.wait()

    def run(self, message: messages.Run, source: bytes = b"") -> None:
        """Send a job to the engine, and the pixels of its source."""
        assert self._peer is not None
        if not self._running:
            # Only then: arrivals at a silent engine are no sign of its life.
            self._watchdog.record_sign()
        self._running.add(message.job, message.generation)
        self._peer.send(message, source)

    def send(self, message: messages.FetchModel | messages.LoadModel | messages.UnloadModel) -> None:
        """Send a message about a model; without an engine it is lost, as are the models."""
        if self._peer is not None:
            if not isinstance(message, messages.FetchModel):  # which lasts for hours, beside everything else
                self._changes.add(message.job)
            self._peer.send(message)

    def ask(self, question: messages.LoraRequest | messages.TokenCountRequest, listener: Listener) -> None:
        """Pass a question on to an engine that is ready, which answers it between two forwards."""
        assert self._peer is not None
        self._questions.add(question.job, listener)
        self._peer.send(question)

    def cancel(self, job: int) -> None:
        """Ask the engine to stop a job; the answer is a Failed message."""
        if self._peer is not None:
            self._peer.send(messages.Cancel(job=job))

    async def attach(self, peer: Peer) -> None:
        """Listen to the engine that has just connected, until it hangs up."""
        self._peer = peer
        async for message, raw in peer:
            if self._peer is not peer:
                return  # it comes from an engine that has been replaced
            self._watchdog.record_sign()
            if not isinstance(message, messages.Pong):
                self._load_watchdog.record_sign()
            if self.state == "silent" and self.ready is not None:
                self._set_state("ready", "ready", self.ready.info.reason)
            self._receive(message, raw)
        if self._peer is peer:
            self._peer = None
            await self._end_unconnected()

    def is_own(self, key: str) -> bool:
        """Return whether the key is that of the process that was started last.

        Process ids would not do: in a virtual environment on Windows the child is a launcher of the interpreter.
        """
        return bool(self._token) and secrets.compare_digest(key.encode(), self._token.encode())

    def _is_over(self) -> bool:
        return self._stopping or self.state == "failed"

    async def _run_once(self) -> bool:
        """Start one engine and wait for its end; return whether it had become ready."""
        self._is_retiring, self.machine = False, ""
        self._silent, self.ready, self.fraction, self.load_progress = False, None, None, None
        self._running.clear()
        self._changes.clear()
        self.usage.begin_engine()
        self._watchdog.begin()
        self._token = secrets.token_hex(32)
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", self._config.engine_module, stdin=asyncio.subprocess.PIPE,
                env=os.environ | self._config.environment(),
            )  # fmt: skip
        except OSError as error:  # memory is short, perhaps still that of the last engine
            logger.error("No engine process can be started: %s", error)
            return False
        assert self._process.stdin is not None
        address = dataclasses.replace(self._address, key=self._token)
        config = EngineConfig(self._settings, address, self.initial_models.chosen, self.initial_models.configured)
        self._process.stdin.write(config.write())
        self._process.stdin.write_eof()
        self._load_watchdog.begin(self._process.pid)
        if self.state != "loading":
            cause = "" if self._end == DIED else f"{self._end} "
            self._set_state("loading", "starting", f"{cause}A new engine process is starting.")
        self._end = DIED
        code = await self._process.wait()
        # A connection that it opened last may be admitted after this: it would count as ready, and its jobs be lost.
        self._token = ""
        if not self._stopping and self.state != "idle":
            logger.warning("The engine process %d ended with status %d.", self._process.pid, code)
        if self._peer is not None:
            self._peer.close()
            self._peer = None
        self._questions.fail_all(EngineUnavailable("The engine died meanwhile.", retry_after=5))
        return self.ready is not None

    def _receive(self, message: messages.AnyMessage, raw: bytes) -> None:
        if isinstance(message, messages.ModelReport):
            self._receive_model_report(message)
        elif isinstance(message, messages.JobReport):
            self._observe(message)
            self._events.job_event(message, raw)
        elif isinstance(message, messages.LorasLoaded | messages.TokenCounts):
            failure = message.failure if isinstance(message, messages.LorasLoaded) else None
            self._questions.answer(message.job, failure or message)
        elif isinstance(message, messages.DeviceUsage):
            self.usage.observe(message)
        elif isinstance(message, messages.Placed):
            self.machine = message.machine
            if self._peer is not None:
                self._peer.send(messages.MachineChoice(choice=self.initial_models.on(self.machine)))
            self._events.engine_changed()
        elif isinstance(message, messages.Retiring):
            self._is_retiring = True
            self.initial_models.forget(self.machine)
            self._events.engine_changed()  # what would have run here runs elsewhere
            self._end_if_retired()
        elif not isinstance(message, messages.Pong):
            logger.error("The engine sent %s, which no engine sends.", type(message).__name__)

    def _receive_model_report(self, message: messages.ModelReport) -> None:
        """Record how far the first model has come, or another one beside it."""
        match message:
            case messages.LoadProgress() if self.ready is not None:
                if message.phase != DOWNLOADING:
                    self.load_progress = message
                self._events.model_event(message)
            case messages.LoadProgress():
                self.fraction = message.fraction
                self._set_state("loading", message.phase, message.sentence)
            case messages.ModelChosen():
                self.initial_models.record(message.choice, self.machine)
            case messages.Ready():
                self.ready, self.fraction, self.is_resting = message, 1.0, False
                self.initial_models.record(InitialModel.of(message.info), self.machine)
                self._events.model_event(messages.ModelsLoaded(job=0, models=(message.info,)))
                self._set_state("ready", "ready", message.info.reason)
            case messages.ModelsLoaded():
                self.load_progress = None
                self._changes.discard(message.job)
                self._events.model_event(message)
            case messages.ModelFetched():
                self._events.model_event(message)
            case messages.LoadFailed():
                self._end_failed(message.sentence)

    def _end_failed(self, sentence: str) -> None:
        """Let an engine end that has no model, and frees what it had loaded."""
        logger.error("%s", sentence)
        self.initial_models.forget(self.machine)
        # One far away may have woken on another machine, which is passed over.
        self.is_resting = self.is_resting and not self._config.is_far
        self._set_state("failed", "failed", sentence)
        self._events.engine_lost(silent=False)
        if self.is_resting:
            # Others may hold the memory that it gave up; the next request tries again.
            self._awake.clear()
            self._set_state("idle", "idle", sentence)
        if self._peer is not None:
            self._peer.close()

    def _observe(self, message: messages.JobReport) -> None:
        """Record the pace of steps and the end of jobs."""
        if isinstance(message, messages.Progress):
            self._watchdog.record_step(message.job)
        elif isinstance(message, messages.Finished | messages.Failed):
            self._running.remove(message.job)
            self._watchdog.forget(message.job)
            self._end_if_retired()

    def _end_if_retired(self) -> None:
        """End an engine that wants no more jobs as soon as it has none; the next one starts elsewhere."""
        if self._is_retiring and not self._running.images:
            self._ending = asyncio.create_task(self._end_process())

    def _set_state(self, state: str, phase: str, reason: str) -> None:
        self.state, self.phase, self.reason = state, phase, reason
        self._events.engine_changed()

    async def _watch(self) -> None:
        """Ping the engine, and kill one that has given no sign of life for too long."""
        while True:
            await asyncio.sleep(self._watchdog.interval)
            self._watch_load()
            finding = self._watchdog.check(works=bool(self._running or self._questions or self._changes))
            # What loads, measures or compiles a model between two forwards can give none.
            pauses = self.load_progress is not None and self.load_progress.phase != WAITING
            if self._peer is None or self.state not in ("ready", "silent") or pauses:
                continue
            self._peer.send(messages.Ping())
            if finding == "silent" and self.state == "ready":
                self._set_state("silent", "ready", "The engine gives no sign of life; it is replaced if that lasts.")
            elif finding == "dead":
                self._silent = True
                self._kill(f"The engine gave no sign of life for {self._watchdog.silent_seconds:.1f} s and was killed.")

    def _watch_load(self) -> None:
        """Kill an engine that makes no progress with a model; one far away leaves nothing to measure here."""
        loads = self.state == "loading" or bool(self._changes)
        if not loads or self.pid is None or self._config.is_far:
            self._load_watchdog.record_sign()
        elif self._load_watchdog.is_stalled():
            limit = self._settings.load_stall_timeout
            self._kill(f"The engine loaded a model without any progress for {limit:g} s and was killed.")

    def _kill(self, reason: str) -> None:
        """Kill the process, and say why."""
        if self._end == reason:
            return  # it is in the system's hands
        logger.error("%s", reason)
        self._end = reason
        self._set_state(self.state, self.phase, reason)
        if self._process is not None:
            child_process.kill(self._process)
