"""CUDA graphs: launches that are captured once and replayed. Process: engine. May import `devices` and below."""
