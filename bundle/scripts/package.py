"""The bundle as the MONAI Model Zoo takes it: ``python -m scripts.package --help``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fire.decorators import SetParseFn

from scripts.command_line import run_command
from scripts.config_options import is_on
from scripts.config_references import load_config
from scripts.described_weights import WEIGHTS, mark_card
from scripts.directions import MODEL_FILES
from scripts.package_archive import format_large_files, write_archive
from scripts.packaged_discriminators import copy_discriminators, find_discriminators
from scripts.trained_generator import adapt_metadata, load_generator
from scripts.whole_files import check_absent, write_whole

NAME = "brain_mri_t1w_t2w_cyclegan"  # of the folder, the archive, and the bundle in the Model Zoo
BUNDLE = Path(__file__).resolve().parents[1]
FOLDERS = ("configs", "docs", "scripts")
REWRITTEN = ("inference", "train", "metadata")
LEFT_OUT = ("__pycache__", "*.pyc", ".*", "outputs", "*.log", "*.pt", "*_rows")


@SetParseFn(str, "output", "models_dir", "models_url")  # a folder "1e3" is no number
def package(
    output: str,
    *,
    models_dir: str,
    models_url: str = "",
    features: int | None = None,
    blocks: int | None = None,
    upsampling: str | None = None,
    slices: int | None = None,
    slice_distance_mm: float | None = None,
    discriminator_features: int | None = None,
    discriminator_downsamplings: int | None = None,
    discriminator_normalization: str | None = None,
    overwrite: bool | str = False,
) -> str:
    """Write the bundle with its models as a folder and as a zip archive for the MONAI Model Zoo.

    Sizes that are given here become the defaults of the packaged inference.json and train.json, so
    that what is packaged runs as it is. The discriminators that a training left come along. Of
    other weights than the bundle's own the packaged card says so at its top.

    Args:
        output: folder to write to; the bundle's folder and <name>_v<version>.zip appear in it.
        models_dir: folder of model.pt and model_t2w_to_t1w.pt, as training writes them.
        models_url: address of the folder from which files above 25 MB will be downloaded.
        features: channels of the generators' first layer, as in training.
        blocks: residual blocks, as in training.
        upsampling: resize or transposed, as in training.
        slices: that go in and come out, as in training.
        slice_distance_mm: from a slice to its neighbours, as in training.
        discriminator_features: channels of the discriminators' first layer, as in training.
        discriminator_downsamplings: 3 or 4, as in training.
        discriminator_normalization: instance or spectral, as in training.
        overwrite: true replaces the folder and the archive of an earlier run.
    """
    sizes = _list_given(
        features=features,
        blocks=blocks,
        upsampling=upsampling,
        slices=slices,
        slice_distance_mm=slice_distance_mm,
    )
    judged = _list_given(
        discriminator_features=discriminator_features,
        discriminator_downsamplings=discriminator_downsamplings,
        discriminator_normalization=discriminator_normalization,
    )
    metadata = load_config(BUNDLE / "configs" / "metadata.json")
    check_version(metadata)
    check_models(models_dir, sizes)
    train = load_config(BUNDLE / "configs" / "train.json")
    judges = find_discriminators(Path(models_dir), train | sizes | judged)
    folder = Path(output) / NAME
    archive = Path(output) / f"{NAME}_v{metadata['version']}.zip"
    check_absent([folder, archive], overwrite=is_on(overwrite))
    with write_whole(folder) as unfinished:
        write_bundle(unfinished, models_dir=Path(models_dir), sizes=sizes, judged=judged)
        if judges is not None:
            copy_discriminators(judges, unfinished)
        large = _write_large_files(unfinished, models_url)
        _remove(folder)
    with write_whole(archive) as unfinished:
        write_archive(unfinished, folder)
    return f"Written: {folder}, {archive}{_describe_large_files(large, models_url)}"


def _list_given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def check_version(metadata: Mapping[str, Any]) -> None:
    """Fail unless the newest entry of the changelog, which is the first, is the version."""
    newest = next(iter(metadata["changelog"]), "nothing")
    if metadata["version"] != newest:
        raise ValueError(
            f"configs/metadata.json: version is {metadata['version']}, but the first entry of its "
            f"changelog is {newest}. Say there what changed, or set the version."
        )


def check_models(models_dir: str, sizes: Mapping[str, Any]) -> None:
    """Fail unless a folder has both generators, as bare state dicts of networks of these sizes.

    Raises:
        FileNotFoundError: a model is missing.
        ValueError: one cannot be read, holds more than weights, or is of another network.
    """
    missing = [name for name in MODEL_FILES.values() if not (Path(models_dir) / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{models_dir}: no {' and no '.join(missing)} here. Train first, and name the folder "
            "that training wrote with --models_dir. `make demo` trains small ones for a try: "
            "outputs/demo/run with --features 16 --upsampling transposed."
        )
    for direction in MODEL_FILES:
        load_generator(
            models_dir=models_dir, checkpoint=None, options={**sizes, "direction": direction}
        )


def write_bundle(
    folder: Path, *, models_dir: Path, sizes: Mapping[str, Any], judged: Mapping[str, Any]
) -> None:
    """Copy what belongs to a bundle into a new folder, with sizes written into its configs.

    Args:
        folder: new.
        models_dir: folder of the generators.
        sizes: of the generators, for inference.json and train.json.
        judged: sizes of the discriminators, for train.json.
    """
    folder.mkdir()
    shutil.copy(BUNDLE / "LICENSE", folder)
    for name in FOLDERS:
        shutil.copytree(BUNDLE / name, folder / name, ignore=shutil.ignore_patterns(*LEFT_OUT))
    (folder / "models").mkdir()
    for name in MODEL_FILES.values():
        shutil.copy(models_dir / name, folder / "models")
    configs = {name: load_config(folder / "configs" / f"{name}.json") for name in REWRITTEN}
    configs["inference"] |= sizes
    configs["train"] |= {**sizes, **judged}
    models = [folder / "models" / name for name in MODEL_FILES.values()]
    configs["metadata"] = adapt_metadata(configs["metadata"], configs["inference"], models)
    if WEIGHTS not in configs["metadata"]:
        card = folder / "docs" / "README.md"
        card.write_text(mark_card(card.read_text(encoding="utf-8"), models), encoding="utf-8")
    for name, config in configs.items():
        text = json.dumps(config, indent=4, ensure_ascii=False) + "\n"
        (folder / "configs" / f"{name}.json").write_text(text, encoding="utf-8")


def _write_large_files(folder: Path, models_url: str) -> list[str]:
    """Write large_files.yml if there are any, and return their names."""
    names, text = format_large_files(folder, models_url)
    if names:
        (folder / "large_files.yml").write_text(text)
    return names


def _describe_large_files(names: list[str], models_url: str) -> str:
    if not names:
        return ""
    address = "" if models_url else " Its addresses are empty: give --models_url before submitting."
    return (
        f"\nAbove 25 MB, and so in large_files.yml: {', '.join(names)}. Leave them out of the pull "
        f"request to the Zoo.{address}"
    )


def _remove(folder: Path) -> None:
    if not folder.exists():
        return
    if not (folder / "configs" / "metadata.json").is_file():
        raise ValueError(f"{folder}: this is no bundle, and is left alone. Choose another OUTPUT.")
    shutil.rmtree(folder)


def main() -> None:
    """Package."""
    run_command(package, name="python -m scripts.package")


if __name__ == "__main__":
    main()
