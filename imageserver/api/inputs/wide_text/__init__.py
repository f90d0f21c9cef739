"""Text with other letters than ASCII, bounded before Python has to hold up to four bytes for each of its letters.

Process: HTTP worker. May import `imageserver.api.wsgi` and the errors.
"""
