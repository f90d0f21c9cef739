"""A model on a group of cards: what each card loads, and how they share the work. Process: engine.

May import the rest of `models` but what loads and measures a model as a whole (`warmup`, `model_pool`).
"""
