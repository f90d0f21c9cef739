"""The Model Context Protocol, over which assistants generate and edit images as tools.

Process: HTTP worker. May import what `imageserver.api.dialects` may.
"""
