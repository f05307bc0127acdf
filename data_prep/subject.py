"""One session of one subject: from its T1w and T2w files to shards, once, whatever happens."""

from __future__ import annotations

import logging
import re
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
    describe_making,
    exclude,
    is_done,
    leave_out,
    read_exclusions,
    withdraw,
    write_record,
)
from data_prep.shipped_masks import describe_method, select_stages
from data_prep.slices import stack_slices
from data_prep.stages import Stages, load_stages
from data_prep.store import write_shard
from data_prep.threads import single_threaded

# Why a T2w stands alone that came with a T1w: its mask is another one than it would have had.
WITHOUT_T1W = " (Tried alone: the session's T1w, which would have lent its mask, is left out too.)"
ADDRESS = re.compile(r"\(0x[0-9a-f]+\)")  # of an object in memory, as ITK prints it
# The folders of an absolute path: in quotes, which may hold spaces, without, or on a Windows drive.
PARENTS = re.compile(
    r"(?<=['\"])/[^'\"\n]*/(?=[^'\"\n])"
    r"|(?<![\w:/.<])/(?:[^\s/'\"]+/)+(?=[^\s/'\"])"
    r"|\b[A-Za-z]:\\+(?:[^\s\\'\"]+\\+)*"
)

logger = logging.getLogger(__name__)


def prepare_session(task: SessionTask) -> list[Exclusion]:
    """Write the shards of one session, and last the record that vouches for them.

    What fails is left out and listed, never raised: a damaged file, a mask that fails quality
    control, a registration that did not work. What is no fault of the data, such as a full disk,
    leaves the whole session out until a later run. The record is the same for the same inputs.

    Returns:
        What was left out, with reasons.
    """
    with single_threaded():
        return _prepare(task)


def _prepare(task: SessionTask) -> list[Exclusion]:
    try:
        stages, method = load_stages(task.bundle), describe_method(task)
        key, inputs = compute_key(task, stages=stages, method=method)
        if is_done(task, key):
            return read_exclusions(task)
        volumes, exclusions = prepare_volumes(task, select_stages(task))
        earlier = withdraw(task)
        shards = [_write_volume(task, volume, key, inputs) for volume in volumes]
        keeps_volumes = task.write_volumes or bool(earlier["volumes"])
        files = write_session_volumes(task, volumes) if keeps_volumes else []
    except Exception as error:  # whatever it is must not cost the other sessions
        logger.debug("%s", task.session.subject_id, exc_info=True)
        return leave_out(task, describe_error(error))
    made_by = describe_making(stages, method)
    write_record(task, key, made_by, shards=shards, volumes=files, exclusions=exclusions)
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

    def attempt(
        path: Path, step: Callable[[], PreparedVolume], hint: str = ""
    ) -> PreparedVolume | None:
        try:
            return step()
        except (ValueError, RuntimeError) as error:
            if not isinstance(find_cause(error), ValueError):
                raise  # no fault of the data: memory, the disk, a device; it may go better later
            exclusions.append(exclude(session, path.name, describe_error(error) + hint))
            return None

    t1w = moved = registered = None
    if (path := session.t1w) is not None:
        t1w = attempt(path, partial(prepare_alone, stages, path, "T1w", truth=task.truth))
    if (path := session.t2w) is not None and t1w is None:
        hint = WITHOUT_T1W if session.t1w is not None else ""
        moved = attempt(path, partial(prepare_alone, stages, path, "T2w", truth=None), hint)
    elif path is not None and t1w is not None:
        moved = attempt(path, partial(prepare_moved, stages, path, t1w))
        if moved is not None:
            registered = attempt(path, partial(prepare_registered, stages, t1w, moved))
    return [volume for volume in (t1w, moved, registered) if volume is not None], exclusions


def find_cause(error: BaseException) -> BaseException:
    """What went wrong: MONAI wraps an error once per transform around it."""
    while isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def describe_error(error: BaseException) -> str:
    """One line that says what went wrong, without places of this machine."""
    cause = find_cause(error)
    if isinstance(cause, OSError) and cause.strerror:
        name = Path(cause.filename).name if isinstance(cause.filename, str) else ""
        return ": ".join(filter(None, (name, cause.strerror)))
    kind = "" if isinstance(cause, (ValueError, OSError)) else f"{type(cause).__name__}: "
    return kind + " ".join(PARENTS.sub("", ADDRESS.sub("", str(cause))).split())
