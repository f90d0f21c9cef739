"""Signs of life of an engine: its messages, and what its processes consume while it loads a model.

Process: dispatcher. May import `dispatch.silence`; knows no engine process.
"""
