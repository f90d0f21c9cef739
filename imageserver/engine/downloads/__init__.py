"""Where a model comes from: the embedded demo, a local folder, ModelScope or Hugging Face.

Process: engine. Imports nothing of the engine. `locate` is the way in: it asks the disk before a hub, and fetches only
the files that will be loaded.
"""

from imageserver.engine.downloads.progress import Report
from imageserver.engine.downloads.search import locate
from imageserver.engine.downloads.unavailable import CardsAway, ModelUnavailable, NotOnDisk

__all__ = ["CardsAway", "ModelUnavailable", "NotOnDisk", "Report", "locate"]
