"""Tokens of Hugging Face as keys: the hub is asked whose they are, and its word is believed for some minutes.

Tokens are neither kept nor logged; a verdict is remembered under the token's hash, in this process alone. Sources: the
hub's `/api/whoami-v2`, and the user's document 004, section 3.
"""

import contextlib
import hashlib
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import gevent
import requests
from requests.auth import AuthBase

from imageserver import __version__
from imageserver.errors import Forbidden, HubUnavailable, ServiceError
from imageserver.settings import Settings

logger = logging.getLogger(__name__)

WHOAMI = "/api/whoami-v2"
# Nothing else is sent to the hub: a key with a slip of the pen is none of its business.
TOKEN = re.compile(r"(?:hf_|api_org_)[\x21-\x7e]{1,4000}")
# The names of API_KEYS have no colon, so that nobody gets the name of a key by registering it at the hub.
PREFIX = "hf:"
NAME = re.compile(r"[A-Za-z0-9._-]{1,96}")
# Seconds for a connection and for each piece of the answer, and for all of it.
TIMEOUT_SECONDS = (3.0, 5.0)
MAX_SECONDS = 5.0
# Seconds that a known token is believed, and that a wrong one is not asked about again.
KNOWN_FOR = 300.0
WRONG_FOR = 60.0
# Seconds after which a client may come back when the hub says nothing better.
COME_BACK = 5.0
MAX_RETRY_AFTER_SECONDS = 120.0
MAX_REMEMBERED = 4096
MAX_CONCURRENT = 16


@dataclass(frozen=True)
class Verdict:
    """What the hub said of a token: its owner's name, None for a wrong one, or why it does not open this server."""

    owner: str | None = None
    refusal: str | None = None


class HuggingFaceTokens:
    """Asks the hub whose a token is, once for all requests that come with it."""

    def __init__(
        self, endpoint: str, users: Iterable[str], *, read_only: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take the hub's address, and who of its users and organisations may come in; nobody named means everybody."""
        self._address = endpoint.rstrip("/") + WHOAMI
        self._users = {user.lower() for user in users}
        self._read_only = read_only
        self._clock = clock
        self._verdicts: OrderedDict[bytes, tuple[Verdict, float]] = OrderedDict()
        self._asking: dict[bytes, gevent.Greenlet] = {}

    def owner_of(self, token: str) -> str | None:
        """Return the credential that a token stands for, None for what is no token of the hub's.

        Waits on a greenlet, 5 s at the most. Raises Forbidden for a token that does not open this server, and
        HubUnavailable while the hub cannot be asked.
        """
        if not TOKEN.fullmatch(token):
            return None
        digest = hashlib.sha256(token.encode()).digest()
        verdict = self._remembered(digest) or self._asked(digest, token)
        if verdict.refusal is not None:
            raise Forbidden(verdict.refusal)
        return None if verdict.owner is None else PREFIX + verdict.owner

    def _remembered(self, digest: bytes) -> Verdict | None:
        verdict, until = self._verdicts.get(digest, (None, 0.0))
        return verdict if self._clock() < until else None

    def _asked(self, digest: bytes, token: str) -> Verdict:
        """Return the hub's word; whoever comes with the same token meanwhile waits for the same question."""
        question = self._asking.get(digest)
        if question is None:
            if len(self._asking) >= MAX_CONCURRENT:
                raise HubUnavailable("Too many new tokens are being checked.", retry_after=1)
            question = self._asking[digest] = gevent.spawn(self._ask, digest, token)
        outcome: Verdict | ServiceError = question.get()
        if isinstance(outcome, ServiceError):
            raise outcome
        return outcome

    def _ask(self, digest: bytes, token: str) -> Verdict | ServiceError:
        """Ask and remember; a failure is returned, for gevent prints what a greenlet raises."""
        try:
            verdict: Verdict | None = gevent.with_timeout(MAX_SECONDS, self._question, token, timeout_value=None)
            if verdict is None:
                raise HubUnavailable(_unavailable(f"no answer in {MAX_SECONDS:g} s"), retry_after=COME_BACK)
            self._remember(digest, verdict)
        except ServiceError as error:
            logger.warning("%s", error.sentence)
            return error
        else:
            return verdict
        finally:
            del self._asking[digest]

    def _remember(self, digest: bytes, verdict: Verdict) -> None:
        known = verdict.owner is not None or verdict.refusal is not None
        self._verdicts[digest] = (verdict, self._clock() + (KNOWN_FOR if known else WRONG_FOR))
        self._verdicts.move_to_end(digest)
        while len(self._verdicts) > MAX_REMEMBERED:
            self._verdicts.popitem(last=False)

    def _question(self, token: str) -> Verdict:
        try:
            # Not followed anywhere else: a token is for the hub alone.
            answer = requests.get(
                self._address, auth=_Bearer(token), timeout=TIMEOUT_SECONDS, allow_redirects=False,
                headers={"User-Agent": f"qwen-image-server/{__version__}"},
            )  # fmt: skip
            if answer.status_code in (401, 403):
                return Verdict()
            if answer.status_code != 200:
                raise HubUnavailable(_unavailable(f"it answered {answer.status_code}"), retry_after=_pause_of(answer))
            return self._verdict(answer.json())
        except (requests.RequestException, OSError, TypeError, ValueError) as error:
            # Whatever the hub sends is no mistake of ours; the error's own text may quote what was sent.
            raise HubUnavailable(_unavailable(type(error).__name__), retry_after=COME_BACK) from None

    def _verdict(self, told: Any) -> Verdict:
        """Return what follows from the hub's answer; raises ValueError for one that is no such answer."""
        if not isinstance(told, dict) or not NAME.fullmatch(str(told.get("name", ""))):
            raise ValueError
        name = str(told["name"])
        groups = {str(group.get("name", "")).lower() for group in told.get("orgs") or [] if isinstance(group, dict)}
        if self._users and not self._users & {name.lower(), *groups}:
            return Verdict(refusal="This Hugging Face account is not among those that this server lets in (HF_USERS).")
        if self._read_only and not _only_reads(told):
            sentence = "This Hugging Face token can write; this server takes tokens that only read (HF_AUTH)."
            return Verdict(refusal=sentence)
        return Verdict(owner=name)


def read_huggingface_tokens(settings: Settings) -> HuggingFaceTokens:
    """Return what checks the hub's tokens."""
    users = [user.strip() for user in settings.hf_users.split(",") if user.strip()]
    return HuggingFaceTokens(settings.hf_endpoint, users, read_only=settings.hf_auth == "read")


class _Bearer(AuthBase):
    """Sends the token; requests would rather take what ~/.netrc has for the hub, and everybody would be its owner."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _only_reads(told: Mapping[str, Any]) -> bool:
    """Return whether a token can change nothing at the hub: its role is `read`, or each of its permissions is."""
    token = _part(_part(told, "auth"), "accessToken")
    if token.get("role") != "fineGrained":
        return bool(token.get("role") == "read")
    grants = _part(token, "fineGrained")
    granted = [*(grants.get("global") or [])]
    for scope in grants.get("scoped") or []:
        granted += scope.get("permissions") or [] if isinstance(scope, dict) else [""]
    return all(str(permission).endswith(".read") for permission in granted)


def _part(whole: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = whole.get(name)
    return part if isinstance(part, dict) else {}


def _unavailable(reason: str) -> str:
    return f"Hugging Face, which knows whose token this is, cannot be asked: {reason}."


def _pause_of(answer: requests.Response) -> float:
    """Return when the hub wants to be asked again, in seconds."""
    with contextlib.suppress(ValueError):
        return min(MAX_RETRY_AFTER_SECONDS, max(1.0, float(answer.headers.get("Retry-After", COME_BACK))))
    return COME_BACK
