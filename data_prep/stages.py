"""The bundle's own preprocessing, built from its JSON, so that inference meets it again."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

DEFAULT_BUNDLE = Path(__file__).resolve().parents[1] / "bundle"
CONFIG = Path("configs/inference.json")

NAMES = (  # of what is built from the config as it stands
    "load_volume",
    "extract_brain",
    "correct_bias",
    "to_network",
    "check_brain_mask",
    "check_extracted",
)

Stage = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Stages:
    """The four steps of ``preprocessing``, one after the other, and what they were made from.

    Each takes and returns a dictionary with ``image`` and, once it is known, ``brain_mask``:
    MetaTensors (1, x, y, z). ``dseg`` may hold truth on the same grid.
    """

    load_volume: Stage
    extract_brain: Stage
    correct_bias: Stage
    to_network: Stage
    check_brain_mask: Callable[[Any, Any], Any]  # mask and affine to a MaskQuality
    check_extracted: Any  # finds brains that are extracted anew
    brain_extraction: str  # the method asked for
    resolve_method: Callable[[], str]  # of brain extraction: what makes the mask here and now
    section: dict[str, Any]  # `preprocessing` of inference.json, references resolved
    brain_limits: dict[str, Any]  # what a mask must keep to, or its volume is left out
    max_in_plane_spacing_mm: float


def load_stages(bundle: Path, brain_extraction: str | None = None) -> Stages:
    """Build the stages of a bundle.

    Args:
        bundle: folder that holds ``configs/inference.json``.
        brain_extraction: method to use instead of the one in the config; None keeps that.

    Raises:
        FileNotFoundError: there is no such config.
    """
    config = bundle / CONFIG
    if not config.is_file():
        raise FileNotFoundError(f"{config}: no such file. Name the bundle's folder with --bundle.")
    return _load_stages(bundle, brain_extraction, config.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _load_stages(bundle: Path, brain_extraction: str | None, changed_ns: int) -> Stages:
    """Once for each state of the config: workers of a cluster may live for weeks."""
    if str(bundle) not in sys.path:
        sys.path.insert(0, str(bundle))  # as MONAI's runner does: configs name `scripts.*`
    parser = ConfigParser()
    parser.read_config(str(bundle / CONFIG))
    parser["bundle_root"] = str(bundle)
    if brain_extraction is not None:
        parser["brain_extraction"] = brain_extraction
    stages = {name: parser.get_parsed_content(name) for name in NAMES}
    return Stages(
        **stages,
        brain_extraction=str(parser.get_parsed_content("brain_extraction")),
        resolve_method=parser.get_parsed_content("resolve_brain_extraction"),
        section=parser.get_parsed_content("preprocessing_section"),
        brain_limits=asdict(parser.get_parsed_content("brain_limits")),
        max_in_plane_spacing_mm=float(parser.get_parsed_content("max_in_plane_spacing_mm")),
    )
