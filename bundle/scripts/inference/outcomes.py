"""What became of every scan: one row each in ``inference.tsv``, kept up to date while it runs."""

from __future__ import annotations

import csv
import io
import logging
import sys
from collections import Counter
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from filelock import FileLock

from scripts.errors import is_command_line
from scripts.whole_files import write_text

logger = logging.getLogger(__name__)

FILE_NAME = "inference.tsv"
STATUSES = ("done", "exists", "refused", "failed")
OTHER_SETTINGS = (
    "MADE WITH ANOTHER MODEL OR OTHER PARAMETERS. Its outputs stay; --overwrite true replaces them."
)
# As data_prep: the run ended, and something was left out.
EXIT_CODE_OF_FAILURES = 3
AT_THAT_TIME = "When they were made:"  # before what an earlier run warned about


@dataclass(frozen=True)
class Outcome:
    """One scan.

    Attributes:
        source: path of the input below the input folder.
        direction: of the translation.
        status: ``done``; ``exists`` (was there before, and stays); ``refused`` by the checks of
            the input; or ``failed``.
        output: path of the synthetic volume below the output folder; "" where there is none.
        seconds: reading, computing and writing.
        brain_cm3: volume of the brain mask.
        message: warnings, or why there is no output.
    """

    source: str
    direction: str
    status: str
    output: str = ""
    seconds: float = 0.0
    brain_cm3: float = 0.0
    message: str = ""

    @property
    def is_of_other_settings(self) -> bool:
        """Whether outputs stay that this run would have made otherwise."""
        return self.status == "exists" and self.message.startswith(OTHER_SETTINGS)


class OutcomeTable:
    """Collects outcomes and writes them; rows of earlier runs about other scans stay.

    Args:
        output_dir: folder of ``inference.tsv``.
    """

    def __init__(self, output_dir: str) -> None:
        self.path = Path(str(output_dir)) / FILE_NAME
        self.outcomes: list[Outcome] = []

    def check(self) -> None:
        """Fail before any work when another table stands in its place."""
        load_outcomes(self.path)

    def add(self, outcome: Outcome) -> None:
        """Take one outcome, log what is wrong, and write the table."""
        with FileLock(self.path.with_name(f".{FILE_NAME}.lock")):
            known = {(row.source, row.direction): row for row in load_outcomes(self.path)}
            outcome = _join(known.get((outcome.source, outcome.direction)), outcome)
            known[outcome.source, outcome.direction] = outcome
            write_text(self.path, format_outcomes([known[key] for key in sorted(known)]))
        self.outcomes.append(outcome)
        if outcome.status in ("refused", "failed"):
            logger.warning("%s: %s. %s", outcome.source, outcome.status, outcome.message)
        elif outcome.status == "exists":
            level = logging.WARNING if outcome.is_of_other_settings else logging.INFO
            logger.log(level, "%s: exists. %s", outcome.source, outcome.message)

    def report(self) -> None:
        """Say how it went, and fail where nothing could be translated.

        On MONAI's command line the exit code is 3 where some scans have no output.

        Raises:
            ValueError: no scan of this run has an output.
        """
        counts = Counter(outcome.status for outcome in self.outcomes)
        summary = ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status])
        bad = [row for row in self.outcomes if row.status in ("refused", "failed")]
        if len(bad) == len(self.outcomes):
            first = f" {bad[0].source}: {bad[0].message}" if bad else ""
            raise ValueError(f"Nothing was translated ({summary or 'no scan'}).{first}")
        logger.info("%s; %s", summary, self.path)
        if bad and is_command_line():
            sys.exit(EXIT_CODE_OF_FAILURES)


def _join(earlier: Outcome | None, outcome: Outcome) -> Outcome:
    """Keep what an earlier run found out about a scan whose outputs stay."""
    if earlier is None or outcome.status != "exists":
        return outcome
    found = earlier.message.removeprefix(OTHER_SETTINGS).strip().removeprefix(AT_THAT_TIME).strip()
    if earlier.status not in ("done", "exists"):
        found = ""
    if outcome.message and found:
        found = f"{AT_THAT_TIME} {found}"
    message = f"{outcome.message} {found}".strip()
    return replace(outcome, seconds=earlier.seconds, brain_cm3=earlier.brain_cm3, message=message)


def load_outcomes(path: Path) -> list[Outcome]:
    """Read a table; [] where there is none.

    Raises:
        ValueError: it is another table.
    """
    if not path.is_file():
        return []
    reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")), delimiter="\t")
    names = [field.name for field in fields(Outcome)]
    if reader.fieldnames != names:
        raise ValueError(f"{path}: columns {reader.fieldnames}; expected {names}. Move it away.")
    numbers = ("seconds", "brain_cm3")
    try:
        rows = [{**row, **{name: float(row[name]) for name in numbers}} for row in reader]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: damaged ({error}). Move it away.") from error
    return [Outcome(**row) for row in rows]  # type: ignore[arg-type]


def format_outcomes(outcomes: list[Outcome]) -> str:
    """Return the table as tab-separated text."""
    text = io.StringIO()
    names = [field.name for field in fields(Outcome)]
    writer = csv.DictWriter(text, names, delimiter="\t", lineterminator="\n")
    writer.writeheader()
    for outcome in outcomes:
        row = asdict(outcome)
        row["message"] = " ".join(outcome.message.split())
        row["seconds"] = f"{outcome.seconds:.1f}"
        row["brain_cm3"] = f"{outcome.brain_cm3:.0f}"
        writer.writerow(row)
    return text.getvalue()
