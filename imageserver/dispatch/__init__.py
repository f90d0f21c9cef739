"""Whose turn it is and who runs it: the queue, the jobs, the engines' supervision, and the client the API uses.

Plain Python, one asyncio loop, one process per server. May import the rooms below and the vocabulary; never torch,
flask or gevent.
"""
