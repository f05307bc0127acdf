"""The models that an evaluation chooses among: shipped generators and checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path

from scripts.checkpoints import DAMAGED, list_checkpoints, load_checkpoint
from scripts.checksums import compute_sha256
from scripts.directions import MODEL_FILES
from scripts.ema import MovingAverage
from scripts.errors import describe_mismatch
from scripts.evaluation.path_names import name_paths
from scripts.evaluation.trivial_rows import ROWS
from scripts.shipped_models import load_models

TAKEN = (*ROWS, "real")  # labels of other rows


@dataclass(frozen=True)
class Candidate:
    """A pair of generators on disk.

    Attributes:
        label: unique among the candidates, and none of `TAKEN`.
        path: folder of `model.pt` and `model_t2w_to_t1w.pt`, or a checkpoint.
    """

    label: str
    path: Path

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self.path if self.path.is_dir() else self.path.parent

    @property
    def files(self) -> list[Path]:
        """Every file that holds weights."""
        if self.path.is_dir():
            return [self.path / name for name in MODEL_FILES.values()]
        return [self.path]


def find_candidates(paths: str | Sequence[str]) -> list[Candidate]:
    """Find models.

    Args:
        paths: one path or pattern, several, or several in one string with commas between. Each is
            a checkpoint, a folder of shipped models, or a folder of checkpoints, which stands for
            all of them. What is there under that very name is no pattern. Patterns pass over
            anything else, such as the table of the best models.

    Raises:
        FileNotFoundError: a path is none of these.
    """
    parts = paths.split(",") if isinstance(paths, str) else paths
    found = [path for part in parts for path in _expand(str(part).strip())]
    unique = list(dict.fromkeys(path.resolve() for path in found))
    labels = name_paths([path.with_suffix("") if path.is_file() else path for path in unique])
    return [Candidate(_rename(label), path) for label, path in zip(labels, unique, strict=True)]


def _rename(label: str) -> str:
    return f"{label} (model)" if label in TAKEN else label


def _expand(part: str) -> list[Path]:
    found = []
    names = [part] if Path(part).exists() else sorted(glob(part))  # noqa: PTH207, may be absolute
    for path in map(Path, names):
        if path.suffix == ".pt" or all((path / name).is_file() for name in MODEL_FILES.values()):
            found.append(path)
        else:
            found += list_checkpoints(path)
    if not found:
        raise FileNotFoundError(
            f"{part}: there is no such model. Expected a checkpoint_*.pt, a folder with "
            f"{' and '.join(MODEL_FILES.values())}, or a folder of checkpoints: train one, or name "
            "others with --models_dir or --candidates."
        )
    return found


def load_candidate(candidate: Candidate, averages: Mapping[str, MovingAverage]) -> None:
    """Load the averaged generators of a candidate into networks and averages.

    Raises:
        ValueError: they are of other sizes, or the file is no checkpoint of this bundle.
    """
    if candidate.path.is_dir():
        load_models(models_dir=str(candidate.path), averages=averages, option="candidates")
        return
    try:
        content = load_checkpoint(candidate.path)
    except DAMAGED as error:
        raise ValueError(f"{candidate.path}: this checkpoint is damaged ({error}).") from error
    for direction, average in averages.items():
        try:
            average.load_state_dict(content[f"average_{direction}"])
            average.source.load_state_dict(average.network.state_dict())
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{candidate.path}: this is no checkpoint of a training ({error} is missing). "
                "Expected checkpoint_*.pt, or the folder of model.pt."
            ) from error
        except RuntimeError as error:
            raise ValueError(f"{candidate.path}: {describe_mismatch(error)}") from error


def compute_checksums(candidate: Candidate) -> dict[str, str]:
    """Checksum of each file of a candidate, by its name."""
    return {path.name: compute_sha256(path) for path in candidate.files}
