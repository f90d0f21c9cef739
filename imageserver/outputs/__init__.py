"""Keep images as files: publish them whole, hand them out by name, delete the oldest.

Process: the HTTP workers. May import the modules beside this package; never torch, flask, gevent or another package.
Only `object_store`, with a process of its own, imports `protocol` and `telemetry`.
Safe with any number of threads and processes on one folder: the file system claims a name, nothing is overwritten, and
files may vanish at any time.
"""
