"""What a command line says of single datasets: method, hold-out, site."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.shipped_masks import SHIPPED
from data_prep.stages import load_stages
from data_prep.subject import find_cause


@dataclass(frozen=True)
class DatasetOptions:
    """Options by dataset name.

    Attributes:
        brain_extraction: method; the bundle's where a name is absent.
        hold_out: datasets kept for an external test.
        sites: where a dataset was acquired; its own name where absent.
    """

    brain_extraction: Mapping[str, str]
    hold_out: Sequence[str]
    sites: Mapping[str, str]

    def check(self, known: Collection[str], bundle: Path) -> None:
        """Raise ValueError for a name that is no dataset, or a method that cannot be used here."""
        check_names(self.brain_extraction, known, option="brain_extraction")
        check_names(self.hold_out, known, option="hold_out")
        check_names(self.sites, known, option="sites")
        for method in sorted(set(self.brain_extraction.values()) - {SHIPPED}):
            try:
                load_stages(bundle.resolve(), method).resolve_method()
            except RuntimeError as error:
                raise ValueError(str(find_cause(error))) from error


def check_names(given: Sequence[str] | Mapping[str, Any], known: Any, *, option: str) -> None:
    """Raise ValueError for a name that is no input."""
    if unknown := sorted(set(given) - set(known)):
        raise ValueError(
            f"--{option} names {', '.join(unknown)}. Expected names of inputs: "
            f"{', '.join(sorted(known))}."
        )
