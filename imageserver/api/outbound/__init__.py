"""HTTP requests that this server makes itself: webhooks, and images at web addresses that clients name.

Process: HTTP worker. May import settings, errors and `wsgi`.
"""
