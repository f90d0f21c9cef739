"""How bodies arrive: in time, in turns with other clients, in well-formed chunks, and not too many bytes at once.

Process: HTTP worker. May import what `imageserver.api.wsgi` may.
"""
