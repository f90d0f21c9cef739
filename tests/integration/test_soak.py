"""A year in half an hour: after the first tenth no part of the server grows, whatever clients and operators do.

`SOAK_GENERATIONS` changes how many are generated with the fake engine; the demo model generates three for 200 of these.
"""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from tests.support.full_mode import needs_full_mode
from tests.support.named_models import write_names
from tests.support.paths import ROOT
from tests.support.server import SMALL_IMAGES
from tests.support.soak.clients import SoakClients
from tests.support.soak.events import events_of
from tests.support.soak.growth import Tolerance, growth_of
from tests.support.soak.sizes import Sizes

GENERATIONS = int(os.environ.get("SOAK_GENERATIONS", "20000"))
DEMO_GENERATIONS = max(30, GENERATIONS * 3 // 200)
KEY = "ann-secret-0123456789"
# An hour of used device seconds is over after half a minute.
CLOCK = 120
INJECTED = ROOT / "tests" / "support" / "soak" / "injected"
# What lives long by default lives short: every limit is reached within the first tenth.
SHORT_LIVES = {
    "TASK_TTL": "10", "MAX_ENDED_TASKS": "200", "STATE_MAX_MB": "2", "TMP_MAX_MB": "0.1", "TMP_MAX_AGE": "20",
    "GALLERY_MAX_IMAGES": "100", "URL_TTL": "20", "CACHE_MAX_MB": "0.2", "LOG_FILE_MAX_MB": "0.2",
    "RATE_LIMIT_RPM": "1000000", "QUOTA_SECONDS_PER_HOUR": "1000000", "QUOTA_SECONDS_PER_DAY": "1000000",
}  # fmt: skip
# SQLite's log beside the state database grows to 4 MiB before it is used from the beginning again.
TOLERANCES = {
    "MiB": Tolerance(0.03, 6), "descriptors": Tolerance(0, 12), "threads": Tolerance(0, 4),
    "greenlets": Tolerance(0, 40), "blocks": Tolerance(0.03, 5000), "MiB of files": Tolerance(0.1, 5),
    "files": Tolerance(0.2, 60), "MiB of SQLite": Tolerance(0.1, 0.5),
}  # fmt: skip

pytestmark = [pytest.mark.alone, pytest.mark.slow, needs_full_mode]


class _Hook(BaseHTTPRequestHandler):
    """Where webhooks arrive."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def webhook():
    with ThreadingHTTPServer(("127.0.0.1", 0), _Hook) as receiver:
        Thread(target=receiver.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{receiver.server_port}/hook"
        receiver.shutdown()


@pytest.fixture
def settings(tmp_path):
    for name in ("counts", "logs", "runtime"):
        (tmp_path / name).mkdir()
    return SHORT_LIVES | {
        "WORKERS": "2", "MAX_QUEUE": "200", "API_KEYS": f"ann:{KEY}", "WEBHOOK_SECRET": "webhook-secret-0123456789",
        "WEBHOOK_HOSTS": "127.0.0.1", "OFFLINE": "0", "LOG_FILE": str(tmp_path / "logs" / "server.log"),
        "LOG_FORMAT": "json", "TMPDIR": str(tmp_path / "runtime"), "SOAK_FOLDER": str(tmp_path / "counts"),
        "SOAK_CLOCK": str(CLOCK), "PYTHONPATH": f"{INJECTED}:{ROOT}",
    }  # fmt: skip


@pytest.mark.timeout(5400)
def test_nothing_grows_over_many_generations_of_the_fake_engine(own_servers, settings, webhook, tmp_path):
    names = tmp_path / "names.toml"
    names.write_text("".join(f"[{name}]\nsource = 'owner/{name}'\n" for name in ("second", "third")))
    server = own_servers(MODELS_FILE=str(names), MAX_LOADED_MODELS="2", **settings)
    clients = SoakClients(server, KEY, models=("fake", "second", "third"), lora="night", webhook=webhook)
    check_that_nothing_grows(server, clients, tmp_path, GENERATIONS, at_a_time=12, reloads=4)


@pytest.mark.timeout(3600)
def test_nothing_grows_over_many_images_of_the_demo_model(own_servers, settings, webhook, tmp_path):
    names = write_names(tmp_path / "models")
    server = own_servers(engine="real", MODELS_FILE=str(names), MAX_LOADED_MODELS="2", **SMALL_IMAGES, **settings)
    clients = SoakClients(server, KEY, models=("demo", "tiny-sd"), lora="night", webhook=webhook)
    check_that_nothing_grows(server, clients, tmp_path, DEMO_GENERATIONS, at_a_time=4, reloads=1)


def check_that_nothing_grows(server, clients, folder, generations, *, at_a_time, reloads):
    """Generate, load and reload, and compare every size with what it was after a tenth."""
    folders = {"state": server.folder / "state", "images": server.output_dir}
    folders |= {name: folder / name for name in ("logs", "runtime")}
    events = events_of(server, clients, generations, reloads=reloads, model=clients.models[1])
    with Sizes(server, folders, folder / "counts", lambda: clients.done) as sizes:
        clients.run(generations, at_a_time, events)
    assert not clients.faults, "\n".join(map(str, [*clients.faults[:10], clients.answers]))
    grown = {each: growth_of(samples, generations // 10) for each, samples in sizes.samples.items()}
    measured = {each: growth for each, growth in grown.items() if growth is not None}
    report(clients, measured)
    assert len({of for of, _ in measured}) >= 4 + len(folders), "main process, dispatcher, engine, workers and files"
    assert {each: growth for each, growth in measured.items() if growth.exceeds(TOLERANCES[each[1]])} == {}


def report(clients, measured):
    """Print what was measured: pytest shows it with -s, and where the test fails."""
    print(sorted(clients.answers.items()))
    for (of, kind), growth in sorted(measured.items()):
        print(f"{of:50} {kind:14} {growth.before:10.1f} {growth.after:10.1f} {growth.by_line:+10.1f}")
