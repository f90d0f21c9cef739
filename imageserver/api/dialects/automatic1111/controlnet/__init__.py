"""The API of the ControlNet extension: the units of a request, and the lists that its clients read.

Process: HTTP worker. May import what `imageserver.api.dialects` may.
"""
