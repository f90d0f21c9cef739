"""Our server without what it measures and tells and no setting switches off, to be compared with the server as it is.

`sitecustomize` is for every process, `entry` for the HTTP workers.
"""
