"""What a web page may do with this server: which hosts it answers to, and which origins may use it.

Process: HTTP worker. May import errors, settings and the request context; knows no images.
"""
