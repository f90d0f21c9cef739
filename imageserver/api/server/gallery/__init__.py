"""The gallery of saved images over HTTP, and what keeps it in step with the images on disk.

Process: HTTP worker. May import what `imageserver.api.server` may.
"""
