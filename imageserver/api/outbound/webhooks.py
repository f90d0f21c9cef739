"""Send signed webhooks to the hosts that the owner allows.

A receiver recomputes `X-Webhook-Signature` from `X-Webhook-Timestamp`, a dot and the unparsed body.
"""

import hashlib
import hmac
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import gevent
from urllib3.exceptions import HTTPError

from imageserver import __version__
from imageserver.api.outbound.safe_http import addresses_of, prepare, public_addresses, reason_of, response_to
from imageserver.errors import InvalidParameter
from imageserver.settings import Settings

# In WEBHOOK_HOSTS, means every public address.
PUBLIC = "public"
# For a receiver to respond, and for the look-up of its host.
MAX_SECONDS = 15.0
MAX_LOOKUP_SECONDS = 5.0


class WebhookFailed(Exception):
    """The receiver did not accept the webhook; the message is one sentence that does not quote the address."""


class WebhookHosts:
    """The hosts that webhooks may be sent to: named ones with any address and, with "public", all public ones."""

    def __init__(self, text: str) -> None:
        entries = [entry.strip().lower() for entry in text.split(",") if entry.strip()]
        self._allows_public = PUBLIC in entries
        self._named = {_host_and_port(entry) for entry in entries if entry != PUBLIC}

    def resolve(self, host: str, port: int) -> list[str]:
        """Return the addresses of an allowed host; raises ValueError for any other."""
        if self._named & {(host, port), (host, None)}:
            return addresses_of(host, port)
        if not self._allows_public:
            raise ValueError("its host is not in WEBHOOK_HOSTS")
        return public_addresses(host, port)


class WebhookSender:
    """Signs and sends webhooks."""

    def __init__(self, secret: bytes, hosts: WebhookHosts, *, clock: Callable[[], float] = time.time) -> None:
        self._secret, self._hosts, self._clock = secret, hosts, clock

    def check(self, url: str, *, name: str) -> None:
        """Look up the host of an address; raise InvalidParameter naming the field if no webhook may be sent to it."""
        try:
            outgoing = prepare("POST", url, {})
            found = gevent.with_timeout(
                MAX_LOOKUP_SECONDS, self._hosts.resolve, outgoing.host, outgoing.port, timeout_value=None
            )
            if found is None:
                raise ValueError("the look-up of its host took too long")
        except ValueError as error:
            raise InvalidParameter(f"{name} cannot be used: {reason_of(error)}.", param=name) from None

    def send(self, url: str, body: bytes, *, webhook_id: str) -> None:
        """POST JSON; `webhook_id` is the same for every attempt. Waits up to 15 s; raises WebhookFailed."""
        status = gevent.with_timeout(MAX_SECONDS, self._status_of, url, body, webhook_id, timeout_value=None)
        if status is None:
            raise WebhookFailed(f"The receiver took longer than {MAX_SECONDS:g} s.")
        if not 200 <= status < 300:
            raise WebhookFailed(f"The receiver returned {status}.")

    def signature(self, timestamp: str, body: bytes) -> str:
        """Return the value of `X-Webhook-Signature`."""
        signed = hmac.new(self._secret, timestamp.encode() + b"." + body, hashlib.sha256)
        return f"sha256={signed.hexdigest()}"

    def _status_of(self, url: str, body: bytes, webhook_id: str) -> int:
        timestamp = str(int(self._clock()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"qwen-image-server/{__version__}",
            "X-Webhook-Id": webhook_id,
            "X-Webhook-Timestamp": timestamp,
            "X-Webhook-Signature": self.signature(timestamp, body),
        }
        try:
            # The host is looked up and checked again; a redirect is a failure like any other status.
            with response_to(prepare("POST", url, headers, body), self._hosts.resolve) as response:
                return response.status_code
        except (OSError, ValueError, HTTPError) as error:
            raise WebhookFailed(f"The receiver cannot be reached: {reason_of(error)}.") from None


def read_webhooks(settings: Settings) -> WebhookSender | None:
    """Return the sender of webhooks, or None if they are switched off."""
    if not settings.webhook_secret or settings.offline:
        return None
    return WebhookSender(settings.webhook_secret.get_secret_value().encode(), WebhookHosts(settings.webhook_hosts))


def _host_and_port(entry: str) -> tuple[str, int | None]:
    parts = urlsplit(f"//{entry}")
    return parts.hostname or "", parts.port
