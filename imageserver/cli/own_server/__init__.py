"""A server for one command, on this machine's loopback with a key of its own: it ends with the command.

So `generate` has the same parameters with a running server and without one.
"""
