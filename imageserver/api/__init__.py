"""The HTTP API: the dialects, the server's own routes, and what they share (errors, authentication, request ids).

Process: HTTP worker (gevent). May import every package of imageserver except `cli`, `app` and `engine`. Views translate
and never decide; no dialect imports another. Nothing slow runs on a greenlet: images go through the thread pool.
"""
