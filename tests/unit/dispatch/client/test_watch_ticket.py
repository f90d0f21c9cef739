"""Whoever watches a request slowly keeps no more than the last preview of each image."""

from imageserver.dispatch.client.ticket import PreviewImage
from imageserver.dispatch.client.watch_ticket import WatchTicket
from imageserver.protocol.messages import JobList, Preview


def preview(step, index=0):
    return Preview(job=5, index=index, step=step, total=99, width=1, height=1)


def test_of_the_previews_that_wait_only_the_last_is_kept_and_yielded():
    ticket = WatchTicket(5, 1.0, lambda job: None)
    for step in range(50):
        ticket.receive(preview(step), bytes([step] * 3))
    assert ticket.received.qsize() == 1
    events = ticket.events(0.01)
    first = next(events)
    assert isinstance(first, PreviewImage)
    assert (first.preview.step, first.pixels) == (49, bytes([49] * 3))
    ticket.receive(preview(50), b"rgb")
    assert next(events).preview.step == 50
    assert next(events) is None
    ticket.receive(JobList(job=5, jobs=()))
    assert list(events) == []


def test_images_that_go_on_in_step_are_all_seen():
    ticket = WatchTicket(5, 1.0, lambda job: None)
    for step in (1, 2):
        for index in range(4):
            ticket.receive(preview(step, index), bytes([index] * 3))
    events = ticket.events(0.01)
    seen = [next(events) for _ in range(4)]
    assert [(each.preview.index, each.preview.step, each.pixels[0]) for each in seen] == [(n, 2, n) for n in range(4)]
    assert next(events) is None
