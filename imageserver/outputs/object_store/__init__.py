"""Keep saved images in any filesystem of fsspec, such as a bucket: the worker's side, and the process that does it.

Process: one beside each HTTP worker, in a plain interpreter, because fsspec's event loop needs a real thread, and a
store that hangs must hang alone. May import `protocol`, `telemetry` and the modules beside this package; never gevent.
"""
