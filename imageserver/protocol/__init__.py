"""What crosses a process border: message types, framing, and what an engine is told at its start.

Every process imports it; it may import the vocabulary below it alone.
"""
