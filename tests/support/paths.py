"""Where the project lies on this machine."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEMO_MODEL = ROOT / "imageserver" / "demo_model"
# Packages that the tests of the memory plans need, beside the environment.
OPTIONAL = Path(sys.executable).parents[1] / "optional"
