"""The bundle's real inference.json, parsed with overrides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

BUNDLE = Path(__file__).resolve().parents[1] / "bundle"


def parse_inference(**overrides: Any) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(str(BUNDLE / "configs" / "inference.json"))
    parser["bundle_root"] = str(BUNDLE)
    for name, value in overrides.items():
        assert name in parser, f"inference.json has no {name}"
        parser[name] = value
    return parser
