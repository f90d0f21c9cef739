"""Another rank of a group of cards: `python -m imageserver.engine.rank` computes forwards for rank 0.

Process: rank, started by the engine. It holds denoisers, and has neither pipelines nor jobs. May import `models` and
below.
"""
