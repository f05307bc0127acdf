"""Whether a worker of a cluster can take part: the same software, the same folders."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path

from data_prep.session_records import describe_tools
from data_prep.stages import load_stages


def describe_software(bundle: Path, methods: Collection[str | None]) -> dict[str, str]:
    """What decides which bytes land in a shard: versions, and what makes the brain masks.

    Args:
        bundle: whose brain extraction is used.
        methods: that were asked for; None is the bundle's own.
    """
    made_by = {
        f"brain extraction {method or 'of the bundle'}": load_stages(
            bundle, method
        ).resolve_method()
        for method in methods
    }
    stages = load_stages(bundle)
    text = json.dumps([stages.section, stages.brain_limits], sort_keys=True)
    return {
        "python": platform.python_version(),
        **describe_tools(),
        "code": hash_code(bundle),
        "preprocessing": hashlib.sha256(text.encode()).hexdigest(),
        **made_by,
    }


@cache
def hash_code(bundle: Path) -> str:
    """Of the source files as they were when this process asked first, soon after importing them."""
    files = [*Path(__file__).parent.glob("*.py"), *(bundle / "scripts").glob("*.py")]
    texts = [path.read_bytes() for path in sorted(files, key=lambda path: path.name)]
    return hashlib.sha256(b"".join(texts)).hexdigest()


def describe_problem(
    bundle: Path,
    folders: Collection[Path],
    methods: Collection[str | None],
    expected: Mapping[str, str],
) -> str:
    """What makes this process unfit to work for another; "" where nothing does.

    Args:
        bundle: whose preprocessing is used.
        folders: of the slice dataset and of its inputs.
        methods: of brain extraction that were asked for.
        expected: software of the process that asks.
    """
    for folder in (bundle, *folders):
        if not folder.is_dir():
            return f"it does not see {folder}. Expected a folder that all machines share."
    try:
        software = describe_software(bundle, methods)
    except (ValueError, OSError) as error:
        return str(error)
    for name, found in software.items():
        if found != expected[name]:
            return f"it has {name} {found}. Expected {expected[name]}, as where the run started."
    return ""
