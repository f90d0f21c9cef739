"""Measures the server side by side with what a user would otherwise run: `python -m benchmarks`.

May import anything of the project; nothing of the project imports it.
"""
