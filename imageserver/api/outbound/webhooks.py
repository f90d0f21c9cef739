"""Tell a client's own server what became of its work: signed, and only where the owner lets it go.

A receiver recomputes `X-Webhook-Signature` from `X-Webhook-Timestamp`, a dot and the body as it came.
"""

import hashlib
import hmac
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import gevent
from urllib3.exceptions import HTTPError

from imageserver import __version__
from imageserver.api.outbound.safe_http import addresses_of, answer_to, prepare, public_addresses, reason_of
from imageserver.errors import InvalidParameter
from imageserver.settings import Settings

# Stands for every public address in WEBHOOK_HOSTS.
PUBLIC = "public"
# Seconds that a receiver has to answer, and that the look-up of its host may take.
MAX_SECONDS = 15.0
MAX_LOOKUP_SECONDS = 5.0


class WebhookFailed(Exception):
    """The receiver did not take it; the message is one sentence that does not quote the address."""


class WebhookHosts:
    """Where webhooks may go: hosts by name, whatever their addresses are, and where so chosen every public one."""

    def __init__(self, text: str) -> None:
        """Take WEBHOOK_HOSTS."""
        entries = [entry.strip().lower() for entry in text.split(",") if entry.strip()]
        self._takes_public = PUBLIC in entries
        self._named = {_host_and_port(entry) for entry in entries if entry != PUBLIC}

    def resolve(self, host: str, port: int) -> list[str]:
        """Return the addresses that may be asked; raises ValueError where none may."""
        if self._named & {(host, port), (host, None)}:
            return addresses_of(host, port)
        if not self._takes_public:
            raise ValueError("its host is not among those of WEBHOOK_HOSTS")
        return public_addresses(host, port)


class WebhookSender:
    """Signs and sends."""

    def __init__(self, secret: bytes, hosts: WebhookHosts, *, clock: Callable[[], float] = time.time) -> None:
        self._secret, self._hosts, self._clock = secret, hosts, clock

    def check(self, url: str, *, name: str) -> None:
        """Raise InvalidParameter naming the field for an address that nothing will be sent to; looks its host up."""
        try:
            outgoing = prepare("POST", url, {})
            found = gevent.with_timeout(
                MAX_LOOKUP_SECONDS, self._hosts.resolve, outgoing.host, outgoing.port, timeout_value=None
            )
            if found is None:
                raise ValueError("its host could not be looked up in time")
        except ValueError as error:
            raise InvalidParameter(f"{name} cannot be used: {reason_of(error)}.", param=name) from None

    def send(self, url: str, body: bytes, *, delivery: str) -> None:
        """POST JSON; `delivery` is the same for every attempt. Waits for 15 s at the most; raises WebhookFailed."""
        status = gevent.with_timeout(MAX_SECONDS, self._status_of, url, body, delivery, timeout_value=None)
        if status is None:
            raise WebhookFailed(f"The receiver took longer than {MAX_SECONDS:g} s.")
        if not 200 <= status < 300:
            raise WebhookFailed(f"The receiver answered {status}.")

    def signature(self, timestamp: str, body: bytes) -> str:
        """Return the value of `X-Webhook-Signature`."""
        signed = hmac.new(self._secret, timestamp.encode() + b"." + body, hashlib.sha256)
        return f"sha256={signed.hexdigest()}"

    def _status_of(self, url: str, body: bytes, delivery: str) -> int:
        timestamp = str(int(self._clock()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"qwen-image-server/{__version__}",
            "X-Webhook-Id": delivery,
            "X-Webhook-Timestamp": timestamp,
            "X-Webhook-Signature": self.signature(timestamp, body),
        }
        try:
            # What its host means is checked anew, and redirects are an answer like any other.
            with answer_to(prepare("POST", url, headers, body), self._hosts.resolve) as answer:
                return answer.status_code
        except (OSError, ValueError, HTTPError) as error:
            raise WebhookFailed(f"The receiver cannot be reached: {reason_of(error)}.") from None


def read_webhooks(settings: Settings) -> WebhookSender | None:
    """Return what sends webhooks, None where the owner wants none."""
    if not settings.webhook_secret or settings.offline:
        return None
    return WebhookSender(settings.webhook_secret.get_secret_value().encode(), WebhookHosts(settings.webhook_hosts))


def _host_and_port(entry: str) -> tuple[str, int | None]:
    parts = urlsplit(f"//{entry}")
    return parts.hostname or "", parts.port
