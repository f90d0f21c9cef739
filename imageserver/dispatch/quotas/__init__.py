"""How much each client may use, and has used: requests of the last minute, device seconds of this hour and day.

Process: dispatcher, which sees the requests of all workers. May import `dispatch.jobs`, `outputs`, messages and errors.
"""
