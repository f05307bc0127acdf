"""Figures from the command line: ``python -m scripts.figure COMMAND --help``, inside the bundle."""

from __future__ import annotations

from pathlib import Path

from scripts.command_line import run_command
from scripts.inference.side_car import read_scale_and_mask
from scripts.report.comparison_figure import save_comparison_from_nifti
from scripts.report.training_curves import save_training_curves


def comparison(output: str, *, t1w: str, t2w: str, synthetic: str, label: str = "") -> str:
    """Draw real T1w, real T2w, synthetic T2w and the error, three slices of a volume.

    Args:
        output: PNG to write.
        t1w: NIfTI of the real T1w.
        t2w: NIfTI of the real T2w on the T1w's grid (`python -m data_prep register` moves it).
        synthetic: NIfTI that inference wrote, with its side-car and brain mask beside it.
        label: words above the figure.
    """
    scale, mask = read_scale_and_mask(Path(synthetic))
    save_comparison_from_nifti(
        output,
        t1w=t1w,
        t2w=t2w,
        synthetic=synthetic,
        synthetic_range=scale,
        brain_mask=mask,
        label=label,
    )
    return output


def curves(output: str, *, run: str) -> str:
    """Draw losses and validation figures of a training.

    Args:
        output: PNG to write.
        run: folder of the training, with its TensorBoard events.
    """
    save_training_curves(output, run)
    return output


def main() -> None:
    """Draw one figure."""
    run_command({"comparison": comparison, "curves": curves}, name="python -m scripts.figure")


if __name__ == "__main__":
    main()
