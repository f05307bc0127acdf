"""The commands that build slice datasets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from data_prep.bids_inputs import BidsInputs, build_from_bids
from data_prep.build import BuildOptions, Outcome, build_group
from data_prep.cluster import Workers
from data_prep.command_line import (
    COMPLETE,
    LEFT_OUT,
    Command,
    name_folders,
    read_switch,
    split_list,
    split_pairs,
)
from data_prep.dataset_options import DatasetOptions
from data_prep.job_array import parse_shard
from data_prep.labels import simulate_labels
from data_prep.output_folder import claim_output, lock_output
from data_prep.phantom import build_phantom
from data_prep.shipped_masks import SHIPPED
from data_prep.stages import DEFAULT_BUNDLE, load_stages
from data_prep.threads import count_workers

SPLIT_BY = ("subject", "site")


def bids(
    out: str,
    *,
    inputs: Any,
    brain_extraction: Any = "",
    hold_out: Any = "",
    groups: str = "",
    sites: Any = "",
    split_by: str = "subject",
    participant_label: Any = "",
    write_volumes: Any = False,
    hdbet_weights: str = "",
    workers: int = 0,
    memory_gb: float = 0.0,
    scheduler: str = "",
    shard: str = "",
    bundle: str = str(DEFAULT_BUNDLE),
) -> Command:
    """Build a slice dataset from BIDS folders; run again to go on, or to add inputs.

    The exit code is 0 when every image was used and 3 when some were left out, which the last
    line counts and OUT/exclusions.tsv explains.

    Args:
        out: folder of the slice dataset.
        inputs: BIDS folders, separated by commas; each is named by its folder, or as NAME=FOLDER.
        brain_extraction: method per input, as A=none,B=deepbet; one of auto, hd-bet, deepbet,
            derivatives (masks that the dataset ships), none (brain-extracted already). The others
            use the bundle's.
        hold_out: inputs kept for an external test.
        groups: table with the columns dataset, subject, group of subjects that belong together.
        sites: where inputs were acquired, as A=london,B=london; for --split_by site.
        split_by: subject, or site: whole sites are dealt out to training, validation and test.
        participant_label: subjects to take, separated by commas; all where absent.
        write_volumes: also write volumes, masks and transforms as BIDS derivatives, OUT/volumes.
        hdbet_weights: folder of HD-BET's weights; HDBET_WEIGHTS or its own where absent.
        workers: processes of this machine; 0 takes one for each core that has 3 GB of memory.
        memory_gb: that each process may take; 0 shares the machine's memory out.
        scheduler: address of a running dask scheduler, tcp://host:8786, whose workers do it.
        shard: i/n, this job's part of n; run `group` once all are done.
        bundle: folder of the bundle whose preprocessing is used.
    """

    def run() -> int:
        wanted = BidsInputs(
            name_folders(split_list(inputs)),
            read_dataset_options(brain_extraction, hold_out, sites),
            split_list(participant_label) or None,
        )
        set_weights(hdbet_weights)
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
        return report_outcome(out, build_from_bids(Path(str(out)), wanted, options))

    return Command(run)


def phantom(
    out: str,
    *,
    subjects: int = 12,
    seed: int = 0,
    brain_extraction: str = "",
    workers: int = 0,
    bundle: str = str(DEFAULT_BUNDLE),
) -> Command:
    """Simulate subjects, and build a slice dataset from them like from any BIDS folder.

    Args:
        out: folder of the slice dataset; the simulated scans are written to OUT/bids/phantom.
        subjects: how many to simulate.
        seed: of all random choices.
        brain_extraction: method; the bundle's where absent.
        workers: processes; 0 takes one for each core that has 3 GB of memory.
        bundle: folder of the bundle whose preprocessing is used.
    """

    def run() -> int:
        folder = Path(str(out)) / "bids" / "phantom"
        claim_output(Path(str(out)), load_stages(Path(bundle)).section)
        with lock_output(Path(str(out))):
            build_phantom(folder, subjects=subjects, seed=seed)
        methods = {"phantom": brain_extraction} if brain_extraction else {}
        wanted = BidsInputs({"phantom": folder}, DatasetOptions(methods, (), {}))
        options = BuildOptions(Path(bundle), Workers(workers or count_workers()))
        return report_outcome(out, build_from_bids(Path(str(out)), wanted, options))

    return Command(run)


def labels(
    maps: str,
    out: str,
    *,
    sessions: int = 1,
    seed: int = 0,
    licence: str = "",
    hold_out: Any = "",
    brain_extraction: str = "",
    workers: int = 0,
    bundle: str = str(DEFAULT_BUNDLE),
) -> Command:
    """Simulate T1w and T2w of labelled heads, and build a slice dataset from them.

    Each session has relaxation times, lesions, contrasts, resolutions and a shape of its own; all
    sessions of a head stay in one part of the dataset. Run again to go on, or with more sessions.

    Args:
        maps: folder of label maps of whole heads with FreeSurfer's ids, such as SynthSeg's training
            maps; maps of the brain alone (aseg, wmparc) are refused.
        out: folder of the slice dataset; the simulated scans are written to OUT/bids/labels.
        sessions: of each head.
        seed: of all random choices.
        licence: of the label maps, which the dataset then names.
        hold_out: `labels`, to keep all heads for an external test.
        brain_extraction: method; the true brain masks where absent.
        workers: processes; 0 takes one for each core that has 3 GB of memory.
        bundle: folder of the bundle whose preprocessing is used.
    """

    def run() -> int:
        folder = Path(str(out)) / "bids" / "labels"
        claim_output(Path(str(out)), load_stages(Path(bundle)).section)
        processes = Workers(workers or count_workers())
        with lock_output(Path(str(out))):
            simulate_labels(
                Path(str(maps)),
                folder,
                sessions=sessions,
                seed=seed,
                licence=str(licence),
                workers=processes,
            )
        methods = {"labels": brain_extraction or SHIPPED}
        options = DatasetOptions(methods, split_list(hold_out), {})
        wanted = BidsInputs({"labels": folder}, options)
        built = build_from_bids(Path(str(out)), wanted, BuildOptions(Path(bundle), processes))
        return report_outcome(out, built)

    return Command(run)


def group(out: str, *, partial: Any = False, bundle: str = str(DEFAULT_BUNDLE)) -> Command:
    """Write splits and tables from what the jobs of an array (--shard) prepared.

    Args:
        out: folder of the slice dataset.
        partial: build without the sessions that are not prepared yet.
        bundle: folder of the bundle whose preprocessing is used.
    """

    def run() -> int:
        without = read_switch(partial, option="partial")
        return report_outcome(
            out, build_group(Path(str(out)), Path(bundle), partial_dataset=without)
        )

    return Command(run)


def read_dataset_options(brain_extraction: Any, hold_out: Any, sites: Any) -> DatasetOptions:
    """The options that name single datasets."""
    return DatasetOptions(split_pairs(brain_extraction), split_list(hold_out), split_pairs(sites))


def read_build_options(
    *,
    bundle: str,
    workers: int,
    memory_gb: float,
    scheduler: str,
    shard: str,
    write_volumes: Any,
    groups: str,
    split_by: str,
) -> BuildOptions:
    """What `bids` and `openneuro` have in common; ValueError for what cannot be meant."""
    return BuildOptions(
        bundle=Path(bundle),
        workers=Workers(workers or count_workers(), float(memory_gb), scheduler),
        shard=parse_shard(str(shard)),
        write_volumes=read_switch(write_volumes, option="write_volumes"),
        groups=Path(groups) if groups else None,
        split_by_site=read_split_by(split_by),
    )


def read_split_by(value: str) -> bool:
    """Whether whole sites are dealt out; ValueError for an unknown word."""
    if value not in SPLIT_BY:
        raise ValueError(f"--split_by {value}. Expected {' or '.join(SPLIT_BY)}.")
    return value == "site"


def set_weights(folder: str) -> None:
    """Name the folder of HD-BET's weights for this process and those that it starts."""
    if folder:
        os.environ["HDBET_WEIGHTS"] = str(Path(folder).resolve())


def report_outcome(out: str, outcome: Outcome) -> int:
    """Say in one line what came of a build; returns the exit code."""
    state, place = "ready", "exclusions.tsv"
    if not outcome.has_tables:
        state, place = "this part is done; run `group` after the others", "the log above"
    print(f"{out}: {state}. Left out: {outcome.left_out} images (see {place}).")
    return LEFT_OUT if outcome.left_out else COMPLETE
