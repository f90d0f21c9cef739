"""Images that clients send: fetched from wherever they are, read, and fitted to a generation.

Process: HTTP worker. May import what `imageserver.api.inputs` may.
"""
