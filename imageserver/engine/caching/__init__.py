"""The tiers `high` and `fast`: one of diffusers' caches skips blocks that would change little.

`QUALITY_CACHE` chooses the cache for the whole server, the request chooses the tier, and a tiered call is computed
on its own. Process: engine. May import `runner` and below, not `batching`.
"""

from imageserver.engine.caching.calibration import Calibration, load_or_measure, measure
from imageserver.engine.caching.selector import open_tiers, refuse_unusable
from imageserver.engine.caching.tiers import QualityTiers

__all__ = ["Calibration", "QualityTiers", "load_or_measure", "measure", "open_tiers", "refuse_unusable"]
