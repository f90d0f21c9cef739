"""Engines on other machines, through Ray: the stand-in beside the dispatcher, the host on the far machine, and nodes.

Process: the stand-in is an engine process to the dispatcher; the host is a Ray actor; nodes are run by the start
scripts. May import `outputs`, `telemetry`, `protocol` and the modules below them, but neither the engine's packages nor
HTTP. No other package imports ray: it ends its driver's process when it loses the cluster.
"""
