"""Slice datasets that are built from small heads, and what became of their scans."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from data_prep.__main__ import main
from data_prep.bids_inputs import BidsInputs, build_from_bids
from data_prep.build import BuildOptions
from data_prep.cluster import Workers
from data_prep.dataset_options import DatasetOptions
from data_prep.stages import DEFAULT_BUNDLE


def build(out: Path, *folders: Path, hold_out=(), workers=1, bundle=DEFAULT_BUNDLE) -> int:
    names = {folder.name: folder for folder in folders}
    options = DatasetOptions(dict.fromkeys(names, "none"), hold_out, {})
    outcome = build_from_bids(
        out, BidsInputs(names, options), BuildOptions(bundle, Workers(workers))
    )
    return outcome.left_out


def read_exclusions(out: Path) -> dict[str, str]:
    table = pd.read_csv(out / "exclusions.tsv", sep="\t", keep_default_na=False)
    return dict(zip(table["file"], table["reason"], strict=True))


def run_cli(command, out, **options):
    arguments = [f"--{name}={value}" for name, value in options.items()]
    sys.argv = ["data_prep", command, str(out), *arguments]
    return main()
