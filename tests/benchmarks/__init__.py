"""Measures what is claimed about speed, as ratios to a reference in the same run."""
