"""Figures of speed and memory, as ratios within one run; `make bench` runs them."""

import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "bundle"))
