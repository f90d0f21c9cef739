"""Ask an OpenAI-style endpoint of the owner's for a better prompt (ENHANCE_URL).

Source: OpenAI's `POST /v1/chat/completions`, as Ollama, vLLM and llama.cpp serve it.
"""

import json
import math
from dataclasses import dataclass
from typing import Any

import gevent
from urllib3.exceptions import HTTPError

from imageserver import __version__
from imageserver.api.outbound.safe_http import addresses_of, prepare, reason_of, response_to
from imageserver.api.outbound.shared_places import SharedPlaces
from imageserver.enhancement.answer import prompt_in
from imageserver.enhancement.instructions import instructions_for
from imageserver.enhancement.recent_answers import RecentAnswers
from imageserver.settings import Settings

PATH = "/chat/completions"
# For the whole answer, which comes at once when all of it is written.
MAX_SECONDS = 30.0
CONNECT_SECONDS = 5.0
# Such servers answer a few at a time. So many are asked, for one key fewer.
MAX_CALLS, MAX_CALLS_OF_ONE = 8, 6
# More than a batch of tasks has, of one key and of all.
MAX_WAITING_OF_ONE, MAX_WAITING = 128, 512
# Some send the model's thoughts too.
MAX_ANSWER_BYTES = 262_144
CHUNK_BYTES = 65_536

# Whose it is, whether an image is edited, and the prompt.
Question = tuple[str, bool, str]


class EndpointFailed(Exception):
    """There is no better prompt; the message says why and quotes neither the address nor the prompt."""


@dataclass
class _Call:
    """A question under way, and how many wait for its answer."""

    asking: gevent.Greenlet
    waiting: int = 0


class PromptEndpoint:
    """Asks for better prompts, a few at a time, and keeps the last ones of each client."""

    def __init__(self, url: str, key: str, model: str, max_chars: int) -> None:
        """Ask the `model` at a base URL, or at the whole one of its completions; refuse what is over `max_chars`."""
        base = url.rstrip("/")
        self._url = base if base.endswith(PATH) else base + PATH
        self._key = key
        self._model = model
        self._max_chars = max_chars
        self._recent = RecentAnswers()
        self._places = SharedPlaces(MAX_CALLS, MAX_CALLS_OF_ONE)
        self._calls: dict[Question, _Call] = {}

    def better_prompt(self, prompt: str, credential: str, *, edits: bool, seconds: float = math.inf) -> str:
        """Return a better prompt for a client, one that `edits` an image, or raise EndpointFailed.

        Waits for up to 30 s, or `seconds` if those are less, in which it may wait for others too.
        """
        # For each client apart: the speed of an answer would tell what another has asked.
        question = (credential, edits, prompt)
        answer = self._recent.find(question)
        if answer is None:
            answer = self._answer(question, min(seconds, MAX_SECONDS))
            self._recent.keep(question, answer)
        return answer

    def _answer(self, question: Question, seconds: float) -> str:
        """Return the answer to a question, which is asked once however many wait for it."""
        client, edits, prompt = question
        call = self._calls.get(question)
        if call is None:
            own = sum(client == other for other, _, _ in self._calls)
            if (client and own >= MAX_WAITING_OF_ONE) or len(self._calls) >= MAX_WAITING:
                raise EndpointFailed("too many prompts wait for ENHANCE_URL")
            call = self._calls[question] = _Call(gevent.spawn(self._ask_in_turn, client, prompt, edits))
        call.waiting += 1
        try:
            answer = gevent.with_timeout(seconds, call.asking.get, timeout_value=None)
        finally:
            call.waiting -= 1
            if not call.waiting:
                del self._calls[question]
                call.asking.kill(block=False)
        if answer is None:
            raise EndpointFailed(f"ENHANCE_URL took longer than {seconds:.3g} s")
        if isinstance(answer, EndpointFailed):
            raise answer
        return str(answer)

    def _ask_in_turn(self, client: str, prompt: str, edits: bool) -> str | EndpointFailed | None:
        """Return the answer or what prevented it, None where it took too long."""
        with self._places.hold(client):
            try:
                found: str | None = gevent.with_timeout(MAX_SECONDS, self._ask, prompt, edits, timeout_value=None)
            except EndpointFailed as error:
                # Returned: gevent would log it, and each of those that wait raises it.
                return error
        return found

    def _ask(self, prompt: str, edits: bool) -> str:
        messages = [
            {"role": "system", "content": instructions_for(prompt, edits=edits)},
            {"role": "user", "content": prompt},
        ]
        question = {"messages": messages, "stream": False} | ({"model": self._model} if self._model else {})
        try:
            # Any address: the owner has named it, and their own network is where such models run.
            outgoing = prepare("POST", self._url, self._headers(), json.dumps(question).encode())
            with response_to(outgoing, addresses_of, timeout=(CONNECT_SECONDS, MAX_SECONDS)) as response:
                if response.status_code != 200:
                    raise ValueError(f"it returned {response.status_code}")
                answer = prompt_in(_text_in(_body_of(response.raw)))
        except (OSError, ValueError, HTTPError) as error:
            raise EndpointFailed(f"ENHANCE_URL did not answer: {reason_of(error)}") from None
        if not answer or len(answer) > self._max_chars:
            size = f"{len(answer)} characters, more than MAX_PROMPT_CHARS" if answer else "no words"
            raise EndpointFailed(f"the answer of ENHANCE_URL has {size}")
        return answer

    def _headers(self) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": f"qwen-image-server/{__version__}",
        }
        return headers | ({"Authorization": f"Bearer {self._key}"} if self._key else {})


def read_prompt_endpoint(settings: Settings) -> PromptEndpoint | None:
    """Return the endpoint of the settings, or None without one."""
    if not settings.enhance_url:
        return None
    key = settings.enhance_key.get_secret_value() if settings.enhance_key else ""
    return PromptEndpoint(settings.enhance_url, key, settings.enhance_model, settings.max_prompt_chars)


def _body_of(raw: Any) -> bytes:
    """Return a whole body; raises ValueError for one that is too large."""
    data = bytearray()
    while chunk := raw.read(CHUNK_BYTES, decode_content=False):
        data += chunk
        if len(data) > MAX_ANSWER_BYTES:
            raise ValueError(f"its answer has more than {MAX_ANSWER_BYTES} bytes")
    return bytes(data)


def _text_in(body: bytes) -> str:
    """Return the text of a completion; raises ValueError where it has none."""
    try:
        text = json.loads(body)["choices"][0]["message"]["content"]
    # Its text may quote the answer.
    except (ValueError, LookupError, TypeError, RecursionError):
        text = None
    if not isinstance(text, str):
        raise ValueError("its answer is not a chat completion with a text")
    return text
