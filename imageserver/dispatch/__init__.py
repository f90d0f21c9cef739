"""Queues the jobs, decides which runs next, and supervises the engine; `client` is the API's way here.

Plain Python, one asyncio loop, one process per server. May import the rooms below and the vocabulary; never torch,
flask or gevent.
"""
