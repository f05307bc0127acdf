"""Where studies are kept: a database that any number of workers share."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

logger = logging.getLogger(__name__)

STORAGE_VARIABLE = "TUNING_STORAGE"  # a password does not belong on a command line
SQLITE, POSTGRESQL = "sqlite", "postgresql"
# Of a trial whose worker died; one that kills every worker is given up.
MOST_RETRIES = 3
SQLITE_WAIT_S = 100  # for another worker's transaction
TROUBLE = (SQLAlchemyError, StorageInternalError)
REPEATED, DEATHS = "failed_trial", "deaths"  # what is known of a trial that repeats another
ADVISORY_LOCK = 0x7157_2157  # any number that others do not take


def find_url(storage: str, folder: Path) -> URL:
    """Address of the database: as given, as in the environment, or a file in the study's folder.

    Raises:
        ValueError: it is no address, or of a kind that several workers cannot share safely.
    """
    given = storage or os.environ.get(STORAGE_VARIABLE, "")
    if not given:
        return URL.create(SQLITE, database=str(folder.resolve() / "study.db"))
    try:
        url = make_url(given)
    except (ArgumentError, ValueError):
        url = None
    if url is None or "@" in (url.host or ""):
        raise ValueError(
            "--storage is no address. Expected sqlite:///FILE or "
            "postgresql://USER:PASSWORD@HOST:5432/DATABASE, an @ in the password as %40."
        )
    if url.get_backend_name() not in (SQLITE, POSTGRESQL) or not url.database:
        raise ValueError(f"--storage {hide(url)}: expected a file by sqlite, or postgresql.")
    if url.drivername == POSTGRESQL:
        url = url.set(drivername="postgresql+psycopg")
    return url


def hide(url: URL) -> str:
    """The address without its password."""
    return url.set(query={}).render_as_string(hide_password=True)


def open_storage(url: URL, *, heartbeat_s: int) -> RDBStorage:
    """Connect; tables are made where there are none.

    Args:
        url: of the database.
        heartbeat_s: between two signs of life of a trial; after three without one it is dead.

    Raises:
        ConnectionError: the database does not answer, or refuses.
        ValueError: its driver is not installed.
    """
    is_file = url.get_backend_name() == SQLITE
    if is_file:
        Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {"connect_args": {"timeout": SQLITE_WAIT_S}} if is_file else {}
    try:
        with reported(url), exclusive(url), warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return PatientStorage(
                url.render_as_string(hide_password=False),
                engine_kwargs=options or {"pool_pre_ping": True},
                heartbeat_interval=heartbeat_s,
                grace_period=3 * heartbeat_s,
                heartbeat_stale_trial_callback=repeat_trial,
            )
    except (NoSuchModuleError, ImportError) as error:
        raise ValueError(
            f"--storage {hide(url)}: its driver is not installed ({error}). Install the extra "
            "postgresql."
        ) from error


class PatientStorage(RDBStorage):
    """Misses a sign of life where the database is silent, instead of giving no more of them."""

    def record_heartbeat(self, trial_id: int) -> None:
        """Note that a trial is alive."""
        try:
            super().record_heartbeat(trial_id)
        except (SQLAlchemyError, StorageInternalError) as error:
            logger.warning("a sign of life could not be stored: %s", error)


def repeat_trial(study: Study, trial: FrozenTrial, *, died: bool = True) -> None:
    """Have a trial that lost its worker run again, with its values and nothing else of it.

    Args:
        study: of the trial.
        trial: that is failed.
        died: whether its worker died, which may be the trial's fault; else it was stopped.
    """
    deaths = trial.system_attrs.get(DEATHS, 0) + int(died)
    if deaths > MOST_RETRIES:
        logger.warning("trial %d is given up: %d workers died of it", trial.number, deaths)
        return
    study.add_trial(
        create_trial(
            state=TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            system_attrs={REPEATED: trial.number, DEATHS: deaths},
        )
    )


@contextmanager
def reported(url: URL) -> Iterator[None]:
    """Turn the errors of a database into one line that says which, and what to do."""
    try:
        yield
    except NoSuchModuleError:
        raise
    except Exception as error:
        trouble = find_trouble(error)
        if trouble is None:
            raise
        cause = trouble.__cause__ or trouble
        first = str(getattr(cause, "orig", None) or cause).strip().splitlines()[0]
        raise ConnectionError(
            f"the storage {hide(url)} does not answer as it should: {first}. Start it, or check "
            "--storage; then run the same command again, and the study goes on."
        ) from error


def find_trouble(error: BaseException) -> BaseException | None:
    """The error of the database behind another: Optuna stumbles when it cannot store one."""
    current: BaseException | None = error
    while current is not None and not isinstance(current, TROUBLE):
        current = current.__cause__ or current.__context__
    return current


@contextmanager
def exclusive(url: URL) -> Iterator[None]:
    """Keep the other workers of a database waiting; a worker that dies lets go."""
    if url.get_backend_name() == SQLITE:
        with FileLock(f"{url.database}.lock"):
            yield
        return
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text(f"SELECT pg_advisory_lock({ADVISORY_LOCK})"))
        try:
            yield
        finally:
            connection.execute(text(f"SELECT pg_advisory_unlock({ADVISORY_LOCK})"))
