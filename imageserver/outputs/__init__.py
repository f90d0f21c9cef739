"""Keep images as files: publish them whole, hand them out by name, delete the oldest.

May import the vocabulary alone; never torch, flask, gevent or another room. Safe with any number of threads and
processes on one folder: a name is claimed by the file system, nothing is overwritten, files may vanish at any time.
"""
