"""Commands that build, check and show slice datasets: ``python -m data_prep COMMAND --help``."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fire

from data_prep.build import Inputs, build_from_bids
from data_prep.command_line import check_options, name_folders, split_list, split_pairs
from data_prep.executor import count_cores
from data_prep.fetch_weights import find_folder, find_url, install_weights
from data_prep.phantom import build_phantom
from data_prep.register import register_files
from data_prep.report import write_report
from data_prep.stages import DEFAULT_BUNDLE
from data_prep.verify import verify_dataset

# Exit codes: everything was used; some images were left out; it could not be done at all.
COMPLETE, LEFT_OUT, FAILED = 0, 3, 1


@dataclass(frozen=True)
class Command:
    """What a command line asks for, run only when the whole line was understood."""

    run: Callable[[], int]

    def __str__(self) -> str:
        return ""


def bids(
    out: str,
    *,
    inputs: Any,
    brain_extraction: Any = "",
    hold_out: Any = "",
    groups: str = "",
    participant_label: Any = "",
    workers: int = 0,
    bundle: str = str(DEFAULT_BUNDLE),
) -> Command:
    """Build a slice dataset from BIDS folders; run again to go on, or to add inputs.

    The exit code is 0 when every image was used and 3 when some were left out, which the last
    line counts and OUT/exclusions.tsv explains.

    Args:
        out: folder of the slice dataset.
        inputs: BIDS folders, separated by commas; each is named by its folder.
        brain_extraction: method per input, as A=none,B=deepbet; one of auto, hd-bet, deepbet,
            none (brain-extracted already). The others use the bundle's.
        hold_out: inputs kept for an external test.
        groups: table with the columns dataset, subject, group of subjects that belong together.
        participant_label: subjects to take, separated by commas; all where absent.
        workers: processes; 0 takes one for each core.
        bundle: folder of the bundle whose preprocessing is used.
    """

    def run() -> int:
        wanted = Inputs(
            folders=name_folders(split_list(inputs)),
            brain_extraction=split_pairs(brain_extraction),
            hold_out=split_list(hold_out),
            groups=Path(groups) if groups else None,
            participant_label=split_list(participant_label) or None,
        )
        return build(Path(out), wanted, bundle=Path(bundle), workers=workers)

    return Command(run)


def build(out: Path, inputs: Inputs, *, bundle: Path, workers: int) -> int:
    """Build, then say in one line what came of it."""
    failed = build_from_bids(out, inputs, bundle=bundle, workers=workers or count_cores())
    print(f"{out}: ready. Left out: {failed} images (see exclusions.tsv).")
    return LEFT_OUT if failed else COMPLETE


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
        workers: processes; 0 takes one for each core.
        bundle: folder of the bundle whose preprocessing is used.
    """

    def run() -> int:
        folder = Path(out) / "bids" / "phantom"
        build_phantom(folder, subjects=subjects, seed=seed)
        methods = {"phantom": brain_extraction} if brain_extraction else {}
        wanted = Inputs({"phantom": folder}, methods, [], None, None)
        return build(Path(out), wanted, bundle=Path(bundle), workers=workers)

    return Command(run)


def register(
    out: str,
    *,
    fixed: str,
    moving: str,
    brain_extraction: str = "",
    bundle: str = str(DEFAULT_BUNDLE),
) -> Command:
    """Move one volume onto the grid of another of the same head, by rigid registration.

    Args:
        out: NIfTI to write, OUT.nii.gz.
        fixed: NIfTI whose grid is taken, usually the T1w.
        moving: NIfTI that is moved, usually the T2w.
        brain_extraction: method for the fixed volume; the bundle's where absent.
        bundle: folder of the bundle whose brain extraction is used.
    """

    def run() -> int:
        found = register_files(
            Path(fixed),
            Path(moving),
            Path(out),
            bundle=Path(bundle),
            brain_extraction=brain_extraction or None,
        )
        before, after = found.mutual_information_before, found.mutual_information_after
        print(f"{out}: mutual information {before:.3f} before, {after:.3f} after")
        return COMPLETE

    return Command(run)


def report(out: str) -> Command:
    """Write OUT/report.html, one page to look at: counts, pairs, registration, intensities.

    Args:
        out: folder of the slice dataset.
    """

    def run() -> int:
        print(write_report(Path(out)))
        return COMPLETE

    return Command(run)


def verify(out: str) -> Command:
    """Check every file of a slice dataset and name what is wrong; exit code 1 if anything is.

    Args:
        out: folder of the slice dataset.
    """

    def run() -> int:
        problems = verify_dataset(Path(out))
        for problem in problems:
            print(problem)
        print(f"{out}: {len(problems)} problems" if problems else f"{out}: no problem found")
        return FAILED if problems else COMPLETE

    return Command(run)


def fetch_weights(*, accept_licence: bool = False, folder: str = "", url: str = "") -> Command:
    """Download HD-BET's weights, after you have read what is known of their licence.

    Args:
        accept_licence: that you accept it; without this, the command only says what is known.
        folder: where they go; HDBET_WEIGHTS or HD-BET's own folder where absent.
        url: archive to download; the one that the installed HD-BET names where absent.
    """

    def run() -> int:
        target = Path(folder).expanduser() if folder else find_folder()
        sha256 = install_weights(target, url=url or find_url(), accept_licence=accept_licence)
        print(f"{target}: ready; sha256 of the checkpoint: {sha256}")
        if target != find_folder():
            print(f"To use it: export HDBET_WEIGHTS={target.resolve()}")
        return COMPLETE

    return Command(run)


COMMANDS: dict[str, Callable[..., Command]] = {
    "bids": bids,
    "fetch_weights": fetch_weights,
    "phantom": phantom,
    "register": register,
    "report": report,
    "verify": verify,
}


def main() -> int:
    """Run one command; what can be expected to go wrong ends with one clear line."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    try:
        check_options(sys.argv[1:], COMMANDS)
        command = fire.Fire(COMMANDS, name="python -m data_prep", serialize=str)
        if not isinstance(command, Command):
            return FAILED  # fire has shown its help
        return command.run()
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED


if __name__ == "__main__":
    sys.exit(main())
