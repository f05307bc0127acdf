"""One session of one subject: from its T1w and T2w files to shards, once, whatever happens."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from data_prep.bids import Exclusion
from data_prep.bids_derivative import write_session_volumes
from data_prep.bids_names import shard_stem
from data_prep.contrasts import (
    PreparedVolume,
    prepare_alone,
    prepare_moved,
    prepare_registered,
)
from data_prep.session_records import (
    SessionTask,
    compute_key,
    exclude,
    is_done,
    leave_out,
    read_exclusions,
    write_record,
)
from data_prep.shipped_masks import describe_method, select_stages
from data_prep.slices import stack_slices
from data_prep.stages import Stages, load_stages
from data_prep.store import write_shard
from data_prep.threads import single_threaded


def prepare_session(task: SessionTask) -> list[Exclusion]:
    """Write the shards of one session, and last the record that vouches for them.

    What fails is left out and listed, never raised: a damaged file, a mask that fails quality
    control, a registration that did not work. The record is the same for the same inputs.

    Returns:
        What was left out, with reasons.
    """
    with single_threaded():
        return _prepare(task)


def _prepare(task: SessionTask) -> list[Exclusion]:
    try:
        section, method = load_stages(task.bundle).section, describe_method(task)
        key, inputs = compute_key(task, section=section, method=method)
        if is_done(task, key):
            return read_exclusions(task)
        stages = select_stages(task)
    except (ValueError, OSError) as error:
        return leave_out(task, describe_error(error))
    volumes, exclusions = prepare_volumes(task, stages)
    shards = [_write_volume(task, volume, key, inputs) for volume in volumes]
    files = write_session_volumes(task, volumes) if task.write_volumes else []
    write_record(task, key, shards=shards, volumes=files, exclusions=exclusions)
    return exclusions


def _write_volume(
    task: SessionTask, volume: PreparedVolume, key: str, inputs: dict[str, str]
) -> str:
    session = task.session
    stem = Path(session.dataset) / shard_stem(volume.file, space=volume.stem_space)
    spacing = [round(value, 4) for value in volume.data["image"].meta["source_spacing_mm"]]
    network = [float(value) for value in volume.data["image"].pixdim]
    facts = {
        "subject_id": session.subject_id,
        "session": session.session or "",
        "dataset": session.dataset,
        "contrast": volume.contrast,
        "space": volume.stem_space or "native",
        "percentiles": [round(value, 6) for value in volume.data["image"].meta["percentiles"]],
        "source_spacing_mm": spacing,
        "effective_resolution_mm": [
            round(max(pair), 4) for pair in zip(spacing, network, strict=True)
        ],
        "brain_extraction": volume.brain_extraction,
        "registration": volume.registration,
        "inputs": inputs,
        "key": key,
    }
    write_shard(task.output_dir, stem, stack_slices(volume.data), facts)
    return stem.as_posix()


def prepare_volumes(
    task: SessionTask, stages: Stages
) -> tuple[list[PreparedVolume], list[Exclusion]]:
    """Prepare what a session has: T1w, T2w on its own grid, and T2w on the T1w's."""
    session = task.session
    exclusions: list[Exclusion] = []

    def attempt(path: Path, step: Callable[[], PreparedVolume]) -> PreparedVolume | None:
        try:
            return step()
        except (ValueError, OSError, RuntimeError) as error:
            exclusions.append(exclude(session, path.name, describe_error(error)))
            return None

    t1w = moved = registered = None
    if (path := session.t1w) is not None:
        t1w = attempt(path, partial(prepare_alone, stages, path, "T1w", truth=task.truth))
    if (path := session.t2w) is not None and t1w is None:
        moved = attempt(path, partial(prepare_alone, stages, path, "T2w", truth=None))
    elif path is not None and t1w is not None:
        moved = attempt(path, partial(prepare_moved, stages, path, t1w))
        if moved is not None:
            registered = attempt(path, partial(prepare_registered, stages, t1w, moved))
    return [volume for volume in (t1w, moved, registered) if volume is not None], exclusions


def describe_error(error: BaseException) -> str:
    """One line that says what went wrong: MONAI wraps an error once per transform around it."""
    while isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    if not isinstance(error, (ValueError, OSError, RuntimeError)):
        raise error  # a fault of the program, not of the data
    return " ".join(str(error).split())
