"""What a web page may do with this server, and which origins may use it.

Process: HTTP worker. May import errors, settings and the request context; knows no images.
"""
