"""Figures of a translation: metrics, trivial rows, statistics, pictures and the report."""
