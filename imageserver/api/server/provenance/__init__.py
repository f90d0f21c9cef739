"""Where an image comes from, over HTTP: whether this server made it, and whether it makes it again.

Process: HTTP worker. May import what `imageserver.api.server` may.
"""
