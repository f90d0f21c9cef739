"""Where what arrives has no room, the client that holds most makes it, and whoever goes on is let through."""

import pytest

from imageserver.api.wsgi.bodies.room import ArrivingBodies

LIMIT, CHUNK, WHOLE = 1000, 10, 500


class Upload:
    """A body of WHOLE bytes that is sent in chunks, by a client that begins again where it was given up."""

    def __init__(self, bodies, client):
        self.bodies, self.client = bodies, client
        self.sent = self.completed = self.given_up = 0

    def give_up(self):
        self.sent, self.given_up = 0, self.given_up + 1

    def send(self, size=CHUNK):
        self.sent += size
        if self.sent < WHOLE:
            self.bodies.add(self, size)
        else:
            self.bodies.end(self)
            self.sent, self.completed = 0, self.completed + 1


def test_a_client_with_many_unfinished_bodies_gives_up_its_own_and_no_others():
    bodies = ArrivingBodies(LIMIT)
    other = Upload(bodies, "192.0.2.1")
    other.send(100)
    flood = [Upload(bodies, "192.0.2.2") for _ in range(40)]
    for each in flood:
        each.send(100)
    assert (other.given_up, sum(each.given_up for each in flood)) == (0, 31)
    assert [each.given_up for each in flood] == [1] * 31 + [0] * 9, "those that stopped first"


@pytest.mark.parametrize("clients", [1, 20], ids=["of one client", "each of its own client"])
def test_of_uploads_that_have_no_room_together_one_after_another_completes(clients):
    bodies = ArrivingBodies(LIMIT)
    uploads = [Upload(bodies, f"192.0.2.{number % clients}") for number in range(20)]
    for _ in range(500):
        for upload in uploads:
            upload.send()
    # At least the one that began first goes on all the time.
    assert sum(upload.completed for upload in uploads) >= 500 * CHUNK // WHOLE


def test_a_body_that_gets_a_byte_now_and_then_gives_way_to_those_that_go_on():
    bodies = ArrivingBodies(160_000)
    uploads = [Upload(bodies, "192.0.2.1") for _ in range(5)]
    for _ in range(40):
        for upload, size in zip(uploads, (1000, 1, 1000, 1000, 1000), strict=True):
            bodies.add(upload, size)
    assert [upload.given_up for upload in uploads] == [0, 1, 0, 0, 0]


def test_one_alone_has_more_than_the_limit_because_its_own_size_is_limited_elsewhere():
    bodies, body = ArrivingBodies(LIMIT), Upload(ArrivingBodies(LIMIT), "192.0.2.1")
    bodies.add(body, LIMIT + 1)
    assert body.given_up == 0


def test_what_was_given_up_or_has_ended_makes_room():
    bodies = ArrivingBodies(LIMIT)
    first, second = Upload(bodies, "192.0.2.1"), Upload(bodies, "192.0.2.1")
    bodies.add(first, 600)
    bodies.end(first)
    bodies.add(second, 600)
    assert (first.given_up, second.given_up) == (0, 0)
