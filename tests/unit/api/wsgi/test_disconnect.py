"""A client that disconnects is noticed, and what is done about it is done to its end."""

import socket

import gevent

from imageserver.api.wsgi.disconnect import SOCKET_KEY, while_client_stays


def test_what_a_disconnected_client_leads_to_is_finished_although_its_request_has_ended():
    ours, theirs = socket.socketpair()
    done = []

    def cancel_slowly():
        done.append("half a message")
        gevent.sleep(0.05)
        done.append("the rest")

    with ours, while_client_stays({SOCKET_KEY: ours}, cancel_slowly):
        theirs.close()
        while not done:
            gevent.sleep(0.001)
    gevent.sleep(0.1)
    assert done == ["half a message", "the rest"]


def test_a_client_that_stays_leads_to_nothing():
    ours, theirs = socket.socketpair()
    done = []
    with ours, theirs:
        with while_client_stays({SOCKET_KEY: ours}, lambda: done.append("left")):
            gevent.sleep(0.01)
        gevent.sleep(0.01)
    assert done == []
