"""The dialects that clients speak, each a module or a package that only translates.

Process: HTTP worker. May import `generation`, `inputs` and everything below them; no dialect imports another.
"""
