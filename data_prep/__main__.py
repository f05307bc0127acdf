"""Commands that build, check and show slice datasets: ``python -m data_prep COMMAND --help``."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path

import fire

from data_prep.build_commands import bids, group, labels, phantom
from data_prep.command_line import COMPLETE, FAILED, INTERRUPTED, Command, check_options
from data_prep.download import verify_downloads
from data_prep.fetch_weights import find_folder, find_url, install_weights
from data_prep.folds import write_folds
from data_prep.openneuro_command import openneuro
from data_prep.register import register_files
from data_prep.report import write_report
from data_prep.stages import DEFAULT_BUNDLE
from data_prep.verify import verify_dataset


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
            Path(str(out)),
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
        print(write_report(Path(str(out))))
        return COMPLETE

    return Command(run)


def verify(out: str) -> Command:
    """Check every file of a slice dataset and name what is wrong; exit code 1 if anything is.

    Scans in OUT/raw are compared with their checksums too; what has changed is fetched anew by the
    next build.

    Args:
        out: folder of the slice dataset.
    """

    def run() -> int:
        problems = [*verify_dataset(Path(str(out))), *verify_downloads(Path(str(out)))]
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


def folds(dataset: str, out: str, *, folds: int = 5, seed: int = 0) -> Command:
    """Deal a finished slice dataset out anew for cross-validation: OUT/fold_1 and on.

    Each fold is a slice dataset whose images are links to the first one's, which has to stay where
    and as it is: when it was built again from other scans, deal it out again.

    Args:
        dataset: folder of the slice dataset.
        out: new folder.
        folds: number of parts; every group of subjects with a pair is tested on in one of them.
        seed: of the order in which groups are dealt out.
    """

    def run() -> int:
        for folder in write_folds(Path(str(dataset)), Path(str(out)), folds=folds, seed=seed):
            print(folder)
        return COMPLETE

    return Command(run)


COMMANDS: dict[str, Callable[..., Command]] = {
    "openneuro": openneuro,
    "bids": bids,
    "fetch_weights": fetch_weights,
    "phantom": phantom,
    "labels": labels,
    "group": group,
    "folds": folds,
    "register": register,
    "report": report,
    "verify": verify,
}


def main() -> int:
    """Run one command; what can be expected to go wrong ends with one clear line."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    # fire takes -h for the first letter of an option
    sys.argv[1:] = ["--help" if text == "-h" else text for text in sys.argv[1:]]
    try:
        check_options(sys.argv[1:], COMMANDS)
        command = fire.Fire(COMMANDS, name="python -m data_prep", serialize=str)
        if not isinstance(command, Command):
            return FAILED  # fire has shown its help
        return command.run()
    except KeyboardInterrupt:
        print("stopped; the same command goes on where it was", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED


if __name__ == "__main__":
    sys.exit(main())
