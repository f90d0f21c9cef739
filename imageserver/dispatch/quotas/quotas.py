"""Decides whether a client may ask for more, charges it, and keeps what was charged over restarts."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

from imageserver.client_limits import ClientLimits
from imageserver.dispatch.jobs import Job
from imageserver.dispatch.quotas.device_seconds import PERIODS, DeviceSeconds, seconds_allowed
from imageserver.dispatch.quotas.request_rates import WINDOW_SECONDS, RequestRates
from imageserver.dispatch.quotas.usage_store import UsageStore
from imageserver.errors import RateLimited, ServiceError
from imageserver.protocol.messages import Failed, Finished, QuotaUse, Submit, Usage, UsageRequest, failed

logger = logging.getLogger(__name__)

# What a killed dispatcher may forget.
SAVE_INTERVAL_SECONDS = 1.0


class Quotas:
    """The requests and device seconds of all accounts; an account without a name is not counted."""

    def __init__(self, store: UsageStore, clock: Callable[[], float] = time.time) -> None:
        """Use the wall clock, because the periods are hours and days of it."""
        self._store = store
        self._clock = clock
        self._rates = RequestRates(clock)
        self._seconds = DeviceSeconds(clock)
        self._is_loaded = False
        self._obstacle = ""
        self._stopping = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Load what was used before a restart, and save changes from now on, on a thread."""
        self._keeper = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """Save the last changes."""
        if self._keeper is not None:
            self._stopping.set()
            await self._keeper
            await self._exchange()
            self._store.close()

    def count(self, request: UsageRequest) -> Usage:
        """Count requests, unless they are too many, and return what their account has used."""
        refusal = None
        if request.account and request.requests:
            try:
                self._rates.count(request.account, request.requests, request.limits.requests_per_minute)
            except RateLimited as error:
                refusal = failed(request.job, error)
        return Usage(job=request.job, quotas=self._quotas(request.account, request.limits), refusal=refusal)

    def charge(self, request: Submit, job: Job, *, learnt: bool) -> None:
        """Charge the estimate of a new job to its account; raises QuotaExceeded."""
        if request.account:
            self._seconds.reserve(job.id, request.account, request.limits, job.work, learnt=learnt)

    def refuse_if_used_up(self, account: str, limits: ClientLimits) -> None:
        """Raise QuotaExceeded where any job of an account would be refused."""
        if account:
            self._seconds.refuse(account, limits, 0.0, learnt=False)

    def record_end(self, job: Job, message: Finished | Failed) -> None:
        """Charge the true device time of a job that has ended; of one that was stopped, that of its steps."""
        done = message.outcome.device_time if isinstance(message, Finished) else job.work * job.share_done
        self._seconds.record_end(job.id, done)

    async def _keep(self) -> None:
        while not self._stopping.is_set():
            await self._exchange()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), SAVE_INTERVAL_SECONDS)

    async def _exchange(self) -> None:
        """Load what was used before a restart, once, then save what has changed; a failure is tried again later."""
        changed = set[str]()
        try:
            if not self._is_loaded:
                self._seconds.add(await asyncio.to_thread(self._store.load, self._clock()))
                self._is_loaded = True
            changed = set(self._seconds.changed)
            if rows := self._seconds.pop_changed():
                await asyncio.to_thread(self._store.save, rows, self._clock())
            self._obstacle = ""
        except ServiceError as error:
            self._seconds.changed |= changed
            if error.sentence != self._obstacle:
                self._obstacle = error.sentence
                logger.error("The device seconds of clients cannot be stored: %s", error.sentence)

    def _quotas(self, account: str, limits: ClientLimits) -> tuple[QuotaUse, ...]:
        requests, reset = self._rates.use(account)
        quotas = [
            QuotaUse(
                name="minute", unit="requests", limit=limits.requests_per_minute, window=int(WINDOW_SECONDS),
                used=requests, reset=reset,
            )
        ]  # fmt: skip
        for period, limit in seconds_allowed(limits).items():
            used, reset = self._seconds.use(account, period)
            quotas.append(
                QuotaUse(
                    name=period, unit="device-seconds", limit=limit, window=PERIODS[period], used=used, reset=reset
                )
            )
        return tuple(quotas)
