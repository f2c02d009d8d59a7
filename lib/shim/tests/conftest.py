"""The shim's own tests: `python -m pytest lib/shim/tests`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

pytest_plugins = ["pytester"]
