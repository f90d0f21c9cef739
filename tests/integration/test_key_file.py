"""API_KEYS_FILE counts as it is now, and as it was where a line is wrong."""

import json
import os
import signal

import websocket

ANN, BOB = "ann-secret-0123456789", "bob-secret-0123456789"


def test_the_file_of_keys_counts_in_every_worker_and_in_open_sockets_as_soon_as_it_changes(own_servers, tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"ann:{ANN}\nbob:{BOB} role=user\n")
    server = own_servers(API_KEYS_FILE=str(file), WORKERS="2")
    load = {"json": {"model": "fake"}, "headers": {"X-API-Key": BOB}}
    assert server.ask("POST", "/v1/models/load", timeout=10, **load).status_code == 403
    file.write_text("bob:short\n")
    server.wait_for(lambda: server.log.count("The key in line 1 of API_KEYS_FILE is too short") == 2, "both workers")
    assert server.get("/v1/jobs", headers={"X-API-Key": BOB}).status_code == 200
    server.process.send_signal(signal.SIGHUP)
    server.wait_for(lambda: "Not reloaded: everything stays as it was. The key in line 1" in server.log, "a sentence")
    assert server.get("/v1/jobs", headers={"X-API-Key": BOB}).status_code == 200
    killed = server.worker_pids()
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    server.wait_for(lambda: server.log.count("The keys stay as they were") == 4, "both new workers")
    server.wait_for(lambda: server.get("/v1/jobs", headers={"X-API-Key": BOB}).status_code == 200, "the old keys")
    assert not set(killed) & set(server.worker_pids())
    assert server.get("/v1/jobs", headers={"X-API-Key": "unknown-0123456789"}).status_code == 401
    connection = websocket.create_connection(f"ws://127.0.0.1:{server.port}/ws/generate?api_key={BOB}", timeout=10)
    file.write_text(f"ann:{ANN}\n")
    server.wait_for(lambda: server.log.count("API_KEYS_FILE was read again") == 2, "both workers")
    for _ in range(8):
        assert server.get("/v1/jobs", headers={"X-API-Key": BOB}).status_code == 401
    connection.send(json.dumps({"prompt": "x", "size": "64x64"}))
    assert json.loads(connection.recv())["code"] == "unauthorized"
    connection.close()
