"""Turn pixels into the bytes of images and archives, and read back their metadata.

Process: the HTTP workers and the command line, on native threads. May import numpy, Pillow, isal and the modules beside
this package; never torch, flask, gevent or another package. Every function is pure and safe on any thread; isal and
Pillow's codecs release the interpreter lock while they work.
"""
