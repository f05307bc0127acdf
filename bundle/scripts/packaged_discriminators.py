"""The discriminators that a package brings along, for those who fine-tune its generators."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from scripts.shipped_models import (
    DISCRIMINATOR_FILES,
    DISCRIMINATORS,
    UNSEEN_SIZES,
    load_discriminators,
    locate_discriminators,
)


def find_discriminators(models_dir: Path, config: Mapping[str, Any]) -> Path | None:
    """Find the discriminators that belong to a folder of models, and check them.

    Args:
        models_dir: folder of the generators.
        config: content of train.json with the sizes that were trained.

    Returns:
        Their folder; None where there are none.

    Raises:
        FileNotFoundError: one of them is missing.
        ValueError: one is damaged, or of another size.
    """
    folder = Path(locate_discriminators(models_dir))
    if not any((folder / name).is_file() for name in DISCRIMINATOR_FILES.values()):
        return None
    _check(folder, config)
    return folder


def _check(folder: Path, config: Mapping[str, Any]) -> None:
    parser = ConfigParser(dict(config))
    networks = {
        "t1w": parser.get_parsed_content("discriminator_def"),
        "t2w": parser.get_parsed_content("discriminator_def_t2w"),
    }
    try:
        load_discriminators(str(folder), networks)
    except ValueError as error:
        raise ValueError(f"{error} To package without them, move {folder} away.") from error


def copy_discriminators(folder: Path, bundle: Path) -> None:
    """Copy both into a bundle's folder."""
    (bundle / DISCRIMINATORS).mkdir()
    for name in (*DISCRIMINATOR_FILES.values(), UNSEEN_SIZES):
        if (folder / name).is_file():  # discriminators of before have no sizes beside them
            shutil.copy(folder / name, bundle / DISCRIMINATORS)
