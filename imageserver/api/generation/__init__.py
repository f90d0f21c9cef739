"""One generation in the API: from a dialect's fields to a request, through the dispatcher, to files.

Process: HTTP worker. May import `inputs` and everything below it; knows no dialect.
"""
