"""What a section of a config says once its references are followed, as plain JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def load_config(path: str | Path) -> dict[str, Any]:
    """Read a JSON config as it stands, nothing resolved."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such config file.")
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def without_description(config: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of an overlay that something depends on."""
    return {name: value for name, value in config.items() if name != "_desc_"}


def resolve_references(config: dict[str, Any], section: str) -> Any:
    """Return a copy of `config[section]` with every string "@id" replaced by what `id` holds.

    Expressions ("$...") and everything else stay as they are, so the result compares as JSON.

    Args:
        config: a whole config, as read from JSON.
        section: an id; "a#b" or "a::b" is the entry b of a.
    """
    return _resolve(config, f"@{section}", ())


def _resolve(config: dict[str, Any], value: Any, within: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        return {name: _resolve(config, each, within) for name, each in value.items()}
    if isinstance(value, list):
        return [_resolve(config, each, within) for each in value]
    if not (isinstance(value, str) and value.startswith("@")):
        return value
    if value in within:
        raise ValueError(f"{' -> '.join((*within, value))}: a reference that leads to itself.")
    return _resolve(config, _look_up(config, value[1:]), (*within, value))


def _look_up(config: dict[str, Any], name: str) -> Any:
    found: Any = config
    for part in name.replace("#", "::").split("::"):
        try:
            found = found[int(part)] if isinstance(found, list) else found[part]
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise ValueError(f"@{name}: the config has no such id; {part!r} is missing.") from error
    return found


def list_differences(found: Any, expected: Any, *, at: str) -> Iterator[str]:
    """Say where two JSON values differ, one line a place, as "at#key: found ..., expected ..."."""
    if isinstance(found, dict) and isinstance(expected, dict):
        for name in sorted(found.keys() | expected.keys()):
            yield from list_differences(
                found.get(name, "nothing"), expected.get(name, "nothing"), at=f"{at}#{name}"
            )
    elif isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        for number, (left, right) in enumerate(zip(found, expected, strict=True)):
            yield from list_differences(left, right, at=f"{at}#{number}")
    elif found != expected:
        yield f"{at}: found {json.dumps(found)}, expected {json.dumps(expected)}"
