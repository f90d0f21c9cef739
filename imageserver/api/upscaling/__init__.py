"""Images that are made larger: by Lanczos alone, or by a second stage of their generation.

Process: HTTP worker. May import the inputs and what is below them; the work itself is `imaging`'s and the engine's.
"""
