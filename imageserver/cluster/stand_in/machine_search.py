"""The search for a machine: the first that is free, can be used and does not leave.

Those that cannot be used are kept meanwhile, for Ray would place the next engine there again.
"""

import asyncio
import contextlib
import logging
import os

from imageserver.cluster.stand_in.dispatcher_link import DispatcherLink
from imageserver.cluster.stand_in.far_seat import FarMachine, FarSeat, MachineLeaves, SeatLost, addresses, is_offered
from imageserver.cluster.versions import difference, versions
from imageserver.outputs.lease_numbers import next_lease
from imageserver.protocol.messages import REFUSED
from imageserver.settings import Settings

logger = logging.getLogger(__name__)

RETRY_SECONDS = 2.0
POLL_SECONDS = 1.0
WAITING, NONE_IS_FREE = "waiting", "No machine of the cluster is free yet; the engine starts on the next one."
# Whether to wait for an engine that is offered, or to ask for one that a cluster may have to start a machine for.
SEAT_VARIABLE, OFFERED = "CLUSTER_SEAT", "offered"
# Machines and devices, joined by commas, whose engines have just failed: others go first.
AVOIDED_VARIABLE = "CLUSTER_AVOIDED"


class MachineSearch:
    """Finds a machine for one engine."""

    def __init__(self, settings: Settings, link: DispatcherLink) -> None:
        self._state_dir = settings.resolve(settings.state_dir)
        self._link = link
        self._may_ask = os.environ.get(SEAT_VARIABLE) != OFFERED
        self._avoided = set(os.environ.get(AVOIDED_VARIABLE, "").split(","))
        self._leaving: list[FarSeat] = []
        self._unusable: list[asyncio.Task[None]] = []
        # Machines with other software that came when one was asked for.
        self._came_in_vain: set[str] = set()

    async def find(self) -> tuple[FarSeat, FarMachine]:
        """Return a seat and where it is, and let those go that could not be used; raises SeatLost."""
        self._link.report(WAITING, NONE_IS_FREE)
        while True:
            while not self._is_asking and not is_offered():
                await asyncio.sleep(POLL_SECONDS)
            there = addresses()
            installed = versions()
            seat = FarSeat(next_lease(self._state_dir))
            try:
                machine = await seat.describe()
            except MachineLeaves:
                self._leaving.append(seat)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            refusal = self._refusal(machine, installed, there)
            if refusal is None:
                # The next search keeps them, or can use them by then.
                for keeping in self._unusable:
                    keeping.cancel()
                return seat, machine
            self._link.report(REFUSED if self._waits_in_vain else WAITING, refusal)
            self._unusable.append(asyncio.create_task(self._keep(seat, machine)))

    @property
    def _is_asking(self) -> bool:
        """Whether to ask for a machine: those that a cluster starts are alike, so not while one is kept in vain."""
        return self._may_ask and not self._came_in_vain

    @property
    def _waits_in_vain(self) -> bool:
        """Whether the machine that was asked for cannot be used, so that no other one is on its way."""
        return self._may_ask and bool(self._came_in_vain)

    def _refusal(self, machine: FarMachine, installed: dict[str, str], there: set[str]) -> str | None:
        """Return why a machine cannot be used, or None; `there` are those that had come before it was asked for."""
        if machine.label in self._avoided:
            return f"The engine on {machine.label} has failed; another machine is awaited."
        refusal = difference(installed, machine.versions, machine.address)
        if refusal is not None:
            logger.error("%s", refusal)
            if machine.address not in there:
                self._came_in_vain.add(machine.label)
        return refusal

    async def _keep(self, seat: FarSeat, machine: FarMachine) -> None:
        """Keep a seat that is not used, until its machine is gone: if it comes back, it may have been repaired."""
        with contextlib.suppress(SeatLost):
            await seat.keep()
        self._avoided.discard(machine.label)
        if machine.label in self._came_in_vain:
            self._came_in_vain.remove(machine.label)
            if self._is_asking:
                self._link.report(WAITING, NONE_IS_FREE)
