"""API keys and Hugging Face tokens: who may use the server.

Process: HTTP worker. May import settings, errors and `wsgi`; never sees a request.
"""
