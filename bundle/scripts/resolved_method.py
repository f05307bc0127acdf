"""What a method of brain extraction stands for on this machine, for records and keys of caches."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from scripts import hd_bet
from scripts.brain_extraction import check_method
from scripts.checksums import compute_sha256_once


def resolve_method(method: str) -> str:
    """Name what makes the mask, with everything that changes it; two equal texts, equal masks.

    Cheap after its first call in a process: checksums are kept while files stay the same.

    Args:
        method: see ``extract_brain``; ``auto`` becomes what it takes now.

    Returns:
        For example ``deepbet 1.0.2``, ``none or deepbet 1.0.2`` (of ``auto``), ``none``,
        ``hd-bet 2.0.1 nnunetv2 2.8.1 sha256:...`` or ``mask file sha256:...``.

    Raises:
        FileNotFoundError: no such mask file, or no weights of HD-BET.
        ValueError: unknown method, HD-BET is not installed, or its weights are not the pinned ones.
    """
    check_method(method)
    if method == "auto":
        return f"none or {resolve_method('hd-bet' if hd_bet.is_available() else 'deepbet')}"
    if method == "hd-bet":
        return hd_bet.describe()
    if method == "deepbet":
        return f"deepbet {version('deepbet')}"
    if method == "none":
        return "none"
    path = Path(method)
    if not path.is_file():
        raise FileNotFoundError(f"{method}: no such mask file.")
    return f"mask file sha256:{compute_sha256_once(path)}"
