"""A denoiser whose weights are spread over the cards of a group, because no card holds them all. Process: engine, rank.

Every card has a part of each large linear layer and all compute the same forward. May import what `card_group` may.
"""
