"""The command that builds a slice dataset from OpenNeuro."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data_prep.build_commands import (
    read_build_options,
    read_dataset_options,
    report_outcome,
    set_weights,
)
from data_prep.command_line import COMPLETE, Command, read_switch, split_list
from data_prep.openneuro_build import FetchRules, build_from_openneuro
from data_prep.openneuro_estimate import estimate_build, format_estimates
from data_prep.openneuro_inputs import OpenNeuroInputs
from data_prep.sources import KNOWN_SOURCES, parse_sources
from data_prep.stages import DEFAULT_BUNDLE


def openneuro(
    out: str,
    *,
    datasets: Any = "",
    subjects: Any = "",
    max_subjects: int = 0,
    dry_run: Any = False,
    clean: Any = False,
    accept_unverified: Any = False,
    brain_extraction: Any = "",
    hold_out: Any = "",
    groups: str = "",
    sites: Any = "",
    split_by: str = "subject",
    write_volumes: Any = False,
    hdbet_weights: str = "",
    workers: int = 0,
    memory_gb: float = 0.0,
    scheduler: str = "",
    shard: str = "",
    bundle: str = str(DEFAULT_BUNDLE),
) -> Command:
    """Build a slice dataset from OpenNeuro; run again to go on, or to add datasets.

    Without --datasets all five that are known are taken: 315 subjects, 31 GB. Scans go to OUT/raw,
    each checked against its checksum. The exit code is 0 when every image was used and 3 when some
    were left out, which the last line counts and OUT/exclusions.tsv explains.

    Args:
        out: folder of the slice dataset.
        datasets: accession numbers, separated by commas, each with a version or without:
            ds002330,ds003745@2.0.0.
        subjects: labels such as 01 or sub-01, or ids such as ds002330_sub-01, separated by commas.
        max_subjects: of each dataset; 0 for all.
        dry_run: only say what would be fetched, how many GB, and how long it would take.
        clean: remove scans once their dataset is done; nothing else is ever removed.
        accept_unverified: take scans for which OpenNeuro announces no checksum by their size.
        brain_extraction: method per dataset, as ds003745=derivatives,ds002330=hd-bet; one of
            auto, hd-bet, deepbet, derivatives (masks that the dataset ships), none.
        hold_out: datasets kept for an external test.
        groups: table with the columns dataset, subject, group of subjects that belong together.
        sites: where datasets were acquired, where that is not known, as ds000001=london.
        split_by: subject, or site: whole sites are dealt out to training, validation and test.
        write_volumes: also write volumes, masks and transforms as BIDS derivatives, OUT/volumes.
        hdbet_weights: folder of HD-BET's weights; HDBET_WEIGHTS or its own where absent.
        workers: processes of this machine; 0 takes one for each core that has 3 GB of memory.
        memory_gb: that each process may take; 0 shares the machine's memory out.
        scheduler: address of a running dask scheduler, tcp://host:8786, whose workers do it.
        shard: i/n, this job's part of n; run `group` once all are done.
        bundle: folder of the bundle whose preprocessing is used.
    """

    def run() -> int:
        wanted = OpenNeuroInputs(
            parse_sources(datasets or list(KNOWN_SOURCES)),
            read_dataset_options(brain_extraction, hold_out, sites),
            split_list(subjects),
            read_limit(max_subjects),
        )
        options = read_build_options(
            bundle=bundle,
            workers=workers,
            memory_gb=memory_gb,
            scheduler=scheduler,
            shard=shard,
            write_volumes=write_volumes,
            groups=groups,
            split_by=split_by,
        )
        set_weights(hdbet_weights)
        if read_switch(dry_run, option="dry_run"):
            estimates = estimate_build(Path(str(out)).resolve(), wanted, options)
            print(format_estimates(estimates, options.workers.count))
            return COMPLETE
        rules = FetchRules(
            read_switch(clean, option="clean"),
            read_switch(accept_unverified, option="accept_unverified"),
        )
        return report_outcome(out, build_from_openneuro(Path(str(out)), wanted, options, rules))

    return Command(run)


def read_limit(value: int) -> int | None:
    """A number of subjects; None for 0. ValueError for what is no such number."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"--max_subjects {value}. Expected a number of subjects, 0 for all.")
    return value or None
