"""The web page: a browser client of the same API as every other client, without a build step.

Process: HTTP worker. May import `operations`, `schemas`, `wsgi` and `settings`.
"""
