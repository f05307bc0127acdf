"""Trained generators for other programs: ``python -m scripts.export --help``, inside the bundle."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path

from fire.decorators import SetParseFn

from scripts.command_line import run_command
from scripts.config_options import is_on
from scripts.export_formats import FORMATS, compute_largest_difference
from scripts.trained_generator import load_generator
from scripts.whole_files import check_absent, write_whole

LARGEST_DIFFERENCE = 1e-4  # of outputs in [-1, 1]: a twentieth of the 1 in 1000 that is stored
# Batch, height and width: none is the traced one; multiples of 4 and others.
CHECKED_SHAPES = ((3, 96, 132), (1, 61, 50))
NEEDED_PACKAGES = {"onnx": ("onnx", "onnxscript", "onnxruntime")}


@SetParseFn(str, "file", "models_dir", "checkpoint")  # a folder "1e3" is no number
def export(
    kind: str,
    file: str,
    *,
    models_dir: str | None = None,
    checkpoint: str | None = None,
    direction: str | None = None,
    features: int | None = None,
    blocks: int | None = None,
    upsampling: str | None = None,
    slices: int | None = None,
    slice_distance_mm: float | None = None,
    overwrite: bool | str = False,
) -> str:
    """Write one generator for another program, and check that it computes the same.

    All three take any batch, height and width from 5, values in [-1, 1], and hold a JSON that
    says which preprocessing they expect: the network sees preprocessed slices, never a file's own.
    torchscript is what MONAI's ckpt_export writes, for MONAI Deploy (do not rename it: the name is
    inside too); onnx has opset 20, input `image` and output `pred`; torch_export is a .pt2 program.

    Args:
        kind: torchscript, onnx or torch_export.
        file: to write.
        models_dir: folder of model.pt and model_t2w_to_t1w.pt, else the bundle's own.
        checkpoint: weights of one generator, instead of a folder.
        direction: t1w_to_t2w or t2w_to_t1w; this and the sizes default to configs/inference.json.
        features: channels of the first layer, as in training.
        blocks: residual blocks, as in training.
        upsampling: resize or transposed, as in training.
        slices: that go in and come out, as in training.
        slice_distance_mm: from a slice to its neighbours, as in training.
        overwrite: true replaces a file that is there.
    """
    _check_kind(kind)
    check_absent([Path(file)], overwrite=is_on(overwrite))
    options = {
        "direction": direction,
        "features": features,
        "blocks": blocks,
        "upsampling": upsampling,
        "slices": slices,
        "slice_distance_mm": slice_distance_mm,
    }
    generator = load_generator(models_dir=models_dir, checkpoint=checkpoint, options=options)
    write, load = FORMATS[kind]
    with write_whole(Path(file)) as path:
        write(generator, path)
        difference = compute_largest_difference(generator, load(path), CHECKED_SHAPES)
        check_difference(difference, name=file)
    return f"{file}: written. Largest difference from PyTorch {difference:.1e} of [-1, 1]."


def check_difference(difference: float, *, name: str) -> None:
    """Fail when an exported network computes something else; NaN is something else too."""
    if not difference <= LARGEST_DIFFERENCE:
        raise ValueError(
            f"{name}: not written, since its outputs differ from PyTorch's by {difference:.1e}; "
            f"expected {LARGEST_DIFFERENCE:.0e} at most. Install the versions that "
            "configs/metadata.json names, or report it."
        )


def _check_kind(kind: str) -> None:
    if kind not in FORMATS:
        raise ValueError(f"{kind}: unknown kind. Expected one of {', '.join(FORMATS)}.")
    missing = [name for name in NEEDED_PACKAGES.get(kind, ()) if not importlib.util.find_spec(name)]
    if missing:
        raise ValueError(f"{kind} needs the package {' and '.join(missing)}. Install it by pip.")


def main() -> None:
    """Export, without what torch says about torch."""
    warnings.filterwarnings("ignore", message=".*torch.jit.*is deprecated")
    warnings.filterwarnings("ignore", message=".*LeafSpec")
    warnings.filterwarnings("ignore", message=".*run bundles from trusted sources")
    run_command(export, name="python -m scripts.export")


if __name__ == "__main__":
    main()
