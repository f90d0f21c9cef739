"""Captions of images: which model writes them, and the job that does.

Process: HTTP worker. May import `imageserver.api.generation` and what that may.
"""
