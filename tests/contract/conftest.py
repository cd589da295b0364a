"""Makes ``docs/tutorial.py`` importable, as ``PYTHONPATH=docs`` does."""

from __future__ import annotations

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"

if str(DOCS) not in sys.path:
    sys.path.append(str(DOCS))
