"""``python -m tests.faults.harness``; see the package."""

from __future__ import annotations

import sys
from pathlib import Path

FAULTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(FAULTS), str(FAULTS.parent / "acceptance")]

from harness.command import main  # noqa: E402  the tests' folders are no packages

if __name__ == "__main__":
    sys.exit(main())
