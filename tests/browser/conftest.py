"""Chromium, the servers it talks to, and a page that must stay quiet."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.support.described_loras import write_loras
from tests.support.keys import ADMIN_KEY, USER_KEY
from tests.support.named_models import write_names
from tests.support.node_packages import node_package
from tests.support.server import Server
from tests.support.server_group import ServerGroup

# The machine may be busy with other things; what takes no time does not wait for it.
TIMEOUT_MS = 60_000
expect.set_options(timeout=TIMEOUT_MS)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium as the system has it."""
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("there is no Chromium")
    with sync_playwright() as playwright:
        # Root has no sandbox, and containers have a small /dev/shm.
        chromium = playwright.chromium.launch(
            executable_path=executable,
            # Names that lead to this machine.
            args=["--no-sandbox", "--disable-dev-shm-usage", "--host-resolver-rules=MAP *.example 127.0.0.1"],
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Start servers that live as long as the session; ready ones, unless `ready=False` is said."""
    group = ServerGroup(tmp_path_factory)
    yield group.start
    group.stop()


@pytest.fixture(scope="session")
def demo_server(start: Callable[..., Server]) -> Server:
    """A server with the embedded demo model."""
    return start(engine="real")


@pytest.fixture(scope="session")
def fake_server(start: Callable[..., Server]) -> Server:
    """A server whose engine only pretends, with room for one request."""
    return start(MAX_QUEUE="1")


@pytest.fixture(scope="session")
def plain_server(start: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A server whose engine only pretends, with eight LoRAs, and otherwise its default settings."""
    folder = tmp_path_factory.mktemp("loras")
    write_loras(folder)
    return start(LORA_DIR=str(folder))


@pytest.fixture(scope="session")
def keyed_server(start: Callable[..., Server]) -> Server:
    """A server that requires a key: of ann, a user, or of root, an admin; its engine pretends to download models."""
    keys = f"ann:{USER_KEY} role=user,root:{ADMIN_KEY}"
    return start(API_KEYS=keys, OFFLINE="0", FAKE_FETCH="sd-1.5:2")


@pytest.fixture(scope="session")
def models_server(start: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A server with the demo model that knows a few others by name."""
    names = write_names(tmp_path_factory.mktemp("several"))
    return start(engine="real", MODELS_FILE=str(names), MAX_PIXELS="262144")


@pytest.fixture(scope="session")
def axe() -> str:
    """The script of axe-core."""
    return (node_package(Path(__file__).parent, "axe-core") / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture
def opened(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open a server's page: `opened(server)`; afterwards it has asked no other host, and complained of nothing.

    `excused` is a part of the complaints that a test provokes.
    """
    complaints: list[str] = []
    hosts: set[str] = set()
    expected: set[str] = set()
    contexts = []
    excuses: list[str] = []

    def complain(said: ConsoleMessage) -> None:
        if said.type in ("error", "warning"):
            complaints.append(f"{said.text} {said.location['url']}")

    def open_page(server: Server, *, excused: str = "", **options: object) -> Page:
        context = browser.new_context(**options)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        page.on("console", complain)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: hosts.add(urlsplit(request.url.removeprefix("blob:")).netloc))
        expected.add(urlsplit(server.url).netloc)
        if excused:
            excuses.append(excused)
        page.goto(server.url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [text for text in complaints if not any(excuse in text for excuse in excuses)] == []
    assert hosts <= expected
