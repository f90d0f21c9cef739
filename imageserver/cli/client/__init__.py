"""A running server, asked over HTTP: its answers, the events of its jobs, and a task from its start to its files."""
