"""Asynchronous tasks: submit now, fetch the images later, also after a restart.

Process: HTTP worker. May import what `imageserver.api.dialects` may.
"""
