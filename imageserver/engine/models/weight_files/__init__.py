"""A model's weights on the disk, in its folder or in one file: whole or not, whose, and how large.

Nothing here knows which model is wanted; `model_choice` and `loading` ask.
"""
