"""What AUTOMATIC1111's "Extras" tab does to images that exist already.

Process: HTTP worker. May import what `imageserver.api.dialects` may.
"""
