"""What the dispatcher measures of jobs, for the metrics.

Process: dispatcher. May import `dispatch.jobs`, messages and telemetry.
"""
