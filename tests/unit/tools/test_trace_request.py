"""The numbers of a traced request."""

from tools.trace_request import report


def test_a_move_is_a_call_into_another_file_and_functions_are_counted_once():
    views, queue = "/p/imageserver/api/views.py", "/p/imageserver/dispatch/queue.py"
    front = [("", views, "post"), (views, views, "_checked"), (views, queue, "push")]
    assert report([[("", queue, "push"), (queue, queue, "push")], front, []]).splitlines() == [
        "    1 api/views.py",
        "    1 dispatch/queue.py",
        "      2 files, 3 functions, 2 moves between files",
        "    1 dispatch/queue.py",
        "      1 files, 1 functions, 1 moves between files",
        "2 files, 3 functions, 3 moves between files",
    ]
