"""The tiers `high` and `fast`: blocks that would change little are skipped by one of diffusers' caches.

`QUALITY_CACHE` chooses the cache for the whole server, the request chooses the tier, and a tiered call is computed
alone. May import what draws one picture, not what takes turns.
"""

from imageserver.engine.quality.choice import open_tiers, refuse_unusable
from imageserver.engine.quality.magnitudes import Magnitudes, load_or_measure, measure
from imageserver.engine.quality.tiers import QualityTiers

__all__ = ["Magnitudes", "QualityTiers", "load_or_measure", "measure", "open_tiers", "refuse_unusable"]
