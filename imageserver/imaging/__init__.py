"""Turn pixels into the bytes of images and archives, and read back what was written beside the pixels.

May import numpy, Pillow, isal and the vocabulary; never torch, flask, gevent or another room. Every function is pure
and safe on any thread; isal and Pillow's codecs give up the interpreter lock while they work.
"""
