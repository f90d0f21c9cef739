"""What one client may ask for, whatever the others do: requests per minute, device seconds per hour and per day."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imageserver.settings import Settings


@dataclass(frozen=True, kw_only=True)
class ClientLimits:
    """The limits of one client; 0 means none."""

    requests_per_minute: int = 0
    seconds_per_hour: float = 0.0
    seconds_per_day: float = 0.0

    @property
    def any(self) -> bool:
        """Whether there is a limit at all."""
        return bool(self.requests_per_minute or self.seconds_per_hour or self.seconds_per_day)


NO_LIMITS = ClientLimits()


def limits_in(settings: "Settings") -> ClientLimits:
    """Return the limits of clients that have none of their own."""
    return ClientLimits(
        requests_per_minute=settings.rate_limit_rpm,
        seconds_per_hour=settings.quota_seconds_per_hour,
        seconds_per_day=settings.quota_seconds_per_day,
    )
