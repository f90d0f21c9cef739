"""The GPU check: what the project does on a CUDA machine, measured in about 18 minutes; see README.md."""
