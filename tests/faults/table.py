"""The faults that the server must survive, by number; a test proves a row with the marker `fault(NUMBER)`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """What goes wrong, and what a user then sees; `open` is what no test shows yet."""

    what: str
    expected: str
    open: str = ""


FAULTS = {
    1: Fault("/health is polled during a generation", "answers within 50 ms, without errors"),
    2: Fault("a request while the model loads", "/livez 200, /readyz 503; the request waits or gets 503"),
    3: Fault("kill -9 an engine during a job", "the job runs again, queued jobs and tasks survive, ready by itself"),
    4: Fault("the device is lost (sticky CUDA error, injected)", "the engine ends and a new one is started"),
    5: Fault("out of device memory (injected)", "a smaller try, else 507; the next job is served"),
    6: Fault("kill -9 an HTTP worker during a job; HUP", "service again within 2 s, the engine stays, no orphan"),
    7: Fault("a client hangs up: FIN, RST, stream, WebSocket", "the device is free; exact neighbours keep every bit"),
    8: Fault("8 requests with MAX_QUEUE=4", "4 x 200, 4 x 429 within 50 ms with Retry-After"),
    9: Fault("a deadline passes in the queue", "504 at the deadline, not after the running job"),
    10: Fault("SIGTERM during a job", "no new requests, running ones are answered, exit status 0, no process is left"),
    11: Fault("the engine is deaf (SIGSTOP)", "504, and a new engine"),
    12: Fault("the engine dies at every start; the model is not there", "bounded tries; the port says why"),
    13: Fault("a job that kills two engines", "it fails, and the others are served"),
    14: Fault("kill -9 the dispatcher", "a new one; tasks go on; waiting clients get 503"),
    15: Fault("WORKERS=2", "one queue, one model, one count"),
    16: Fault("a full disk, a folder that cannot be written", "507, no partial file"),
    17: Fault("kill -9 during a write of the task store", "the store opens, and every task ends once"),
    18: Fault("two images within a second, a restart", "different names and ids"),
    19: Fault("a long run", "memory does not grow with the number of jobs", "memory without QIS_FULL=1"),
    20: Fault("bodies that are too large, endless or never arrive", "413 or 408; others are served"),
    21: Fault("image bombs; truncated, CMYK, 16-bit, animated images", "refused from the header, or converted"),
    22: Fault("prompts of any length and any characters", "an image, or 4xx with the limit"),
    23: Fault("numbers that make no sense", "422 that names the field"),
    24: Fault("names that lead out of a folder", "404 or 422, and nothing outside is opened"),
    25: Fault("pickled weights, broken safetensors", "refused; the pickle is not executed"),
    26: Fault("image addresses in the server's own network", "refused without a connection"),
    27: Fault("a wrong, missing or misplaced key", "401; no key in the log; monitoring stays open"),
    28: Fault("the hub is down and its tokens are required", "503, not 200"),
    29: Fault("line breaks, ANSI codes and JSON in a prompt", "one line in the log"),
    30: Fault("more requests than a key may send", "429 with Retry-After; others are not affected"),
    31: Fault("CORS, debugger, errors", "off by default; no debugger; no paths and traces"),
    32: Fault("generated requests of every kind (schemathesis)", "no server error, no schema violation"),
    33: Fault("the head of a cluster is gone during a job", "the job goes on, others follow", "without QIS_FULL=1"),
    34: Fault("kill -9 a machine of a cluster during a job", "another machine finishes the job"),
    35: Fault("the clock is set", "deadlines follow the monotonic clock"),
    36: Fault("trio is installed", "the server starts"),
    37: Fault("a foreign web page: Origin, Sec-Fetch-Site, WebSocket, rebound Host", "403 or 421, and nothing is done"),
    38: Fault("32 MB of nested lists, keys, pairs", "refused before they are parsed; others do not wait"),
    39: Fault("small files of huge images, many at once", "bounded memory; images or 429"),
    40: Fault("a restart in which the new worker has the dead one's process id", "its tasks go on"),
    41: Fault("the task store is locked, or the disk is full, when a task ends", "the end is written when it can be"),
    42: Fault("a damaged or locked database", "set aside, or the start ends with a sentence; nobody waits"),
    43: Fault("one key with more work than the queue holds", "others are admitted"),
    44: Fault("the dispatcher is stopped; the engine is deaf while idle", "degraded in 5 s, replaced in 30 s"),
    45: Fault("a peer announces gigabytes before its key", "hung up on; nothing is read"),
    46: Fault("1100 idle or slow connections of one client", "others are served"),
    47: Fault("a webhook receiver that never answers", "other webhooks are sent within a second"),
    48: Fault("a damaged LoRA; NaN in the pixels", "refused; no trace in later images; never 200"),
    49: Fault("a machine of a cluster is stopped (SIGSTOP)", "it is given up; its late answer is dropped"),
    50: Fault("the engine hangs while it loads its model", "a sentence in /health, and a new engine"),
    51: Fault("a running server's files are damaged or removed; a worker dies", "another worker, the same engine"),
}  # fmt: skip
