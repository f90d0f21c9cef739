"""OUTPUT_URL=s3://…: saved images in a bucket of moto's S3, which comes and goes; in the full mode."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest
import requests

from tests.support.server import free_port

pytestmark = pytest.mark.skipif("QIS_FULL" not in os.environ, reason="needs moto and s3fs; QIS_FULL=1 installs them")
ACCESS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "hush-hush", "AWS_DEFAULT_REGION": "us-east-1"}


class S3:
    """moto's server on a port of its own, with one bucket; it forgets everything when it stops."""

    def __init__(self):
        import boto3

        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        names = {"aws_access_key_id": "key", "aws_secret_access_key": "hush-hush", "region_name": "us-east-1"}
        self.client = boto3.client("s3", endpoint_url=self.url, **names)
        self.start()

    def start(self):
        command = [sys.executable, "-m", "moto.server", "-p", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not self.listens():
            assert self.process.poll() is None, "moto does not start"
            time.sleep(0.1)
        self.client.create_bucket(Bucket="bucket")

    def listens(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self):
        self.process.kill()
        self.process.wait()

    def get(self, name):
        """Return an object; where another test's pause of the store is not over for the server, once it arrives."""
        deadline = time.monotonic() + 40
        while True:
            try:
                return self.client.get_object(Bucket="bucket", Key=f"images/{name}")
            except self.client.exceptions.NoSuchKey:
                assert time.monotonic() < deadline, f"{name} never arrived"
                time.sleep(0.2)


@pytest.fixture(scope="module")
def s3():
    s3 = S3()
    yield s3
    s3.stop()


@pytest.fixture(scope="module", params=["0", "1"], ids=["passed on", "redirected"])
def server(request, servers, s3):
    options = json.dumps({"endpoint_url": s3.url})
    return servers(
        OUTPUT_URL="s3://bucket/images", OUTPUT_REDIRECT=request.param, WORKERS="2", FSSPEC_S3=options, **ACCESS
    )


def save(server, **fields):
    return server.generate(save_to_file=True, **fields).json()["url"]


def name_of(url):
    return url.partition("?")[0].rpartition("/")[2]


def test_a_saved_image_is_an_object_and_opens_by_its_address(server, s3):
    url = save(server)
    stored = s3.get(name_of(url))
    assert stored["ContentType"] == "image/png"
    answer = requests.get(url, timeout=10)
    assert answer.content == stored["Body"].read()
    assert answer.headers["Content-Type"] == "image/png"


def test_a_redirect_leads_to_an_address_that_the_store_signs_for_a_minute(server, s3):
    url = save(server)
    answer = requests.get(url, timeout=10, allow_redirects=False)
    if answer.status_code == 302:
        assert answer.headers["Location"].startswith(f"{s3.url}/bucket/images/{name_of(url)}?")
        assert "Expires" in answer.headers["Location"]
        assert "hush-hush" not in answer.headers["Location"]
    else:
        assert answer.content.startswith(b"\x89PNG")


def test_while_s3_is_away_images_wait_and_are_sent_when_it_is_back(server, s3):
    s3.stop()
    url = save(server)
    assert requests.get(url, timeout=10).content.startswith(b"\x89PNG")
    # Either worker may answer, and both know within two seconds.
    server.wait_for(lambda: all(server.health()["status"] == "degraded" for _ in range(4)), "the state")
    assert s3.url not in server.health()["reason"]
    s3.start()
    server.wait_for(lambda: all(server.health()["status"] == "healthy" for _ in range(4)), "the store", timeout=40)
    assert s3.get(name_of(url))["Body"].read().startswith(b"\x89PNG")


def test_a_bucket_that_is_missing_is_named_before_anybody_saves(own_servers, s3):
    options = json.dumps({"endpoint_url": s3.url})
    server = own_servers(OUTPUT_URL="s3://other/images", FSSPEC_S3=options, **ACCESS)
    server.wait_for(lambda: "does not exist" in server.health()["reason"], "the reason", timeout=40)
    assert [bucket["Name"] for bucket in s3.client.list_buckets()["Buckets"]] == ["bucket"]
