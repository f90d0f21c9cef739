"""What an image says of its origin: that a model generated it, who wrote the file, and the request that made it.

Process: the HTTP workers. May import the modules beside this package, as `imaging` does.
"""
