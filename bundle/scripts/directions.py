"""The two directions of translation: which contrast goes in, which comes out, by which model."""

from __future__ import annotations

from pathlib import Path

MODEL_FILES = {"t1w_to_t2w": "model.pt", "t2w_to_t1w": "model_t2w_to_t1w.pt"}
SOURCE_OF_DIRECTION = {"t1w_to_t2w": "T1w", "t2w_to_t1w": "T2w"}
TARGET_OF_DIRECTION = {"t1w_to_t2w": "T2w", "t2w_to_t1w": "T1w"}


def check_direction(direction: str) -> str:
    """Return a known direction; ValueError for any other."""
    if direction not in MODEL_FILES:
        raise ValueError(f"direction {direction!r}. Expected one of {list(MODEL_FILES)}.")
    return direction


def name_contrasts(direction: str) -> dict[str, str]:
    """Return the contrasts that are `source` and `target` of a direction."""
    source = SOURCE_OF_DIRECTION[check_direction(direction)]
    return {"source": source, "target": TARGET_OF_DIRECTION[direction]}


def select_model(models_dir: str, direction: str) -> str:
    """Path of the generator's weights for a direction.

    Raises:
        FileNotFoundError: the folder holds no such model.
    """
    path = Path(models_dir) / MODEL_FILES[check_direction(direction)]
    if not path.is_file():
        raise FileNotFoundError(
            f"{path.name}: no such model in {models_dir}. Train one first, and name the folder "
            "that training wrote with --models_dir, or a file with --checkpoint."
        )
    return str(path)
