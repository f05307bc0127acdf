"""What a BIDS dataset says of itself: name, version, DOI and licence."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

logger = logging.getLogger(__name__)


def read_dataset_description(root: Path) -> dict[str, str]:
    """Name, version, DOI and licence of a dataset, "" where it does not say.

    OpenNeuro's versions stand at the end of the DOI (`openneuro.ds002330.v1.1.0`); failing
    that, BIDS puts the newest version first in `CHANGES`.
    """
    path = root / "dataset_description.json"
    described: object = {}
    try:
        described = json.loads(path.read_bytes().decode("utf-8-sig", errors="replace"))
    except FileNotFoundError:
        pass
    except json.JSONDecodeError as error:
        logger.warning("%s is not valid JSON (%s); its name and licence stay unknown", path, error)
    fields = described if isinstance(described, dict) else {}
    texts = {key: value.strip() for key, value in fields.items() if isinstance(value, str)}
    doi = texts.get("DatasetDOI", "").removeprefix("doi:")
    return {
        "name": texts.get("Name", ""),
        "version": _version(root, doi),
        "doi": doi,
        "license": texts.get("License", ""),
    }


def _version(root: Path, doi: str) -> str:
    if match := re.search(r"\.v(\d[\w.]*)$", doi):
        return match.group(1)
    changes = root / "CHANGES"
    if changes.is_file():
        for line in changes.read_text(encoding="utf-8", errors="replace").splitlines():
            if line[:1].isdecimal():
                return line.split()[0]
    return ""
