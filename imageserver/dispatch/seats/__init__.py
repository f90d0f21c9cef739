"""The seats: the engine of each device, its supervision, its models and costs, and which seat serves a job.

Process: dispatcher. May import the estimates, jobs, queue and streams of `dispatch`; knows no client.
"""
