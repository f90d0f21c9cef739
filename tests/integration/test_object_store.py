"""OUTPUT_URL: saved images in a filesystem of fsspec, here a folder that can be taken away, with two workers."""

import signal
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store") / "images"


@pytest.fixture(scope="module")
def server(servers, store):
    return servers(OUTPUT_URL=f"local://{store}", WORKERS="2", API_KEYS=SECRET)


SECRET = "a-secret-of-the-tests"
KEY = {"Authorization": f"Bearer {SECRET}"}


def save(server, prompt="a cat"):
    body = {"prompt": prompt, "cache": False, "save_to_file": True}
    return server.ask("POST", "/generate", json=body, headers=KEY, timeout=60)


def fetch(server, url):
    # Without the key: the address is signed.
    return server.get(url.removeprefix(server.url))


def store_processes(server):
    return [process for process in server.processes() if "imageserver.outputs.object_store" in process.cmdline()]


def test_a_saved_image_is_in_the_store_and_its_signed_address_opens_it_on_every_worker(server, store):
    answer = save(server).json()
    name = answer["url"].partition("?")[0].rpartition("/")[2]
    assert answer["file_path"] == f"images/{name}"
    assert not server.output_dir.exists()
    content = (store / name).read_bytes()
    images = [fetch(server, answer["url"]) for _ in range(8)]
    assert {(image.status_code, image.headers["Content-Type"]) for image in images} == {(200, "image/png")}
    assert all(image.content == content for image in images)
    assert server.get(f"/images/{name}").status_code == 401
    part = server.get(answer["url"].removeprefix(server.url), headers={"Range": "bytes=0-3"})
    assert (part.status_code, part.content) == (206, content[:4])


def test_a_task_s_images_are_downloaded_from_the_store(server, store):
    before = set(store.glob("*.png"))
    task = server.ask("POST", "/submit", json={"prompt": "a dog"}, headers=KEY, timeout=20).json()["task_id"]
    status = lambda: server.get(f"/status/{task}", headers=KEY).json()  # noqa: E731
    server.wait_for(lambda: status()["status"] == "completed", "the task")
    image = server.get(f"/download/{task}", headers=KEY)
    assert image.content.startswith(b"\x89PNG")
    # A store that was slow gets an image a little later.
    server.wait_for(lambda: set(store.glob("*.png")) - before, "the image in the store")
    for file in store.glob("*.png"):
        file.unlink()
    gone = server.get(f"/download/{task}", headers=KEY)
    assert (gone.status_code, gone.json()["code"]) == (410, "gone")


def test_while_the_store_is_away_images_wait_and_the_state_says_so(server, store):
    kept = save(server).json()["url"]
    away = store.with_name("away")
    store.rename(away)
    store.write_text("in the way")
    try:
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda number: save(server, f"cat {number}"), range(4)))
        assert [answer.status_code for answer in answers] == [200] * 4
        urls = [answer.json()["url"] for answer in answers]
        assert all(fetch(server, url).ok for url in urls for _ in range(2))
        server.wait_for(lambda: server.health()["status"] == "degraded", "the state")
        assert "The store of OUTPUT_URL cannot be used" in server.health()["reason"]
        assert server.get("/readyz").status_code == 200
        unreadable = fetch(server, kept)
        assert (unreadable.status_code, unreadable.json()["code"]) == (503, "storage_unavailable")
        assert unreadable.headers["Retry-After"]
    finally:
        store.unlink()
        away.rename(store)
    server.wait_for(lambda: all(server.health()["status"] == "healthy" for _ in range(4)), "the store")
    names = [url.partition("?")[0].rpartition("/")[2] for url in (kept, *urls)]
    server.wait_for(lambda: all((store / name).exists() for name in names), "the images that waited")
    assert all(fetch(server, url).ok for url in (kept, *urls))


def test_a_store_process_that_is_killed_comes_back(server, store):
    before = store_processes(server)
    assert len(before) == 2
    for process in before:
        process.send_signal(signal.SIGKILL)
    psutil.wait_procs(before, timeout=5)
    # One that does not listen yet is none to its worker, and would not be to the test that follows.
    listening = lambda: [process for process in store_processes(server) if process.net_connections("unix")]  # noqa: E731
    server.wait_for(lambda: len(listening()) == 2, "new store processes")
    server.wait_for(lambda: all(save(server).ok for _ in range(2)), "saving")


def test_an_image_that_hangs_in_a_slow_store_keeps_nobody_else_waiting(server, store):
    # Its processes are stopped, as by a mount that does not answer.
    processes = store_processes(server)
    for process in processes:
        process.suspend()
    try:
        with ThreadPoolExecutor(1) as pool:
            slow = pool.submit(save, server)
            server.wait_for(lambda: server.get("/livez", timeout=1).ok, "the port", timeout=2)
            assert server.ask("POST", "/generate", json={"prompt": "x"}, headers=KEY, timeout=5).ok
            for process in processes:
                process.resume()
            saved = slow.result(30)
            assert saved.ok, saved.text
    finally:
        for process in processes:
            if process.is_running():
                process.resume()


def test_a_conversation_goes_on_from_an_image_of_the_store(server):
    first = save(server).json()["url"]
    text = [{"type": "image_url", "image_url": {"url": first}}, {"type": "text", "text": "make it blue"}]
    body = {"model": "demo", "messages": [{"role": "user", "content": text}]}
    answer = server.ask("POST", "/v1/chat/completions", json=body, headers=KEY, timeout=60)
    assert answer.ok, answer.text


def test_the_store_processes_end_with_the_server_and_with_a_worker_that_is_killed(own_servers, tmp_path):
    server = own_servers(OUTPUT_URL=f"local://{tmp_path}/images")
    [before] = store_processes(server)
    [worker] = psutil.Process(before.pid).parents()[:1]
    worker.kill()
    psutil.wait_procs([before], timeout=5)
    assert not before.is_running()
    server.wait_for(lambda: store_processes(server), "another worker")
    assert server.generate(save_to_file=True).ok
    assert server.stop() == 0
    assert not server.leftovers()
