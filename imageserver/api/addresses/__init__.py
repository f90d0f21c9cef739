"""The addresses of this server: its host names, what proxies say of the client's, and what links begin with.

Process: HTTP worker. May import settings and the WSGI layer; knows no images.
"""
