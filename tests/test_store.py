"""Files that appear whole or not at all, the same bytes for the same content."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import pytest

from data_prep.store import (
    compute_sha256,
    read_json,
    write_array,
    write_bytes,
    write_json,
    write_parquet,
    write_tsv,
)


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "table.tsv"
    write_bytes(path, b"old")

    def fail(descriptor):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.tsv"]


def test_the_same_content_makes_the_same_bytes(tmp_path):
    table = pd.DataFrame({"a": [1, 2], "b": ["x", "y"], "c": [True, False]})
    for name, write, content in (
        ("a.parquet", write_parquet, table),
        ("a.tsv", write_tsv, table),
        ("a.npy", write_array, np.arange(5)),
        ("a.json", write_json, {"b": 1, "a": [2]}),
    ):
        write(tmp_path / name, content)
        first = (tmp_path / name).read_bytes()
        write(tmp_path / name, content)
        assert (tmp_path / name).read_bytes() == first
    write_json(tmp_path / "b.json", {"a": [2], "b": 1})
    assert (tmp_path / "b.json").read_bytes() == (tmp_path / "a.json").read_bytes()


def test_booleans_are_words_in_tsv(tmp_path):
    write_tsv(tmp_path / "a.tsv", pd.DataFrame({"has_t2w": [True, False], "n": [1, 2]}))
    assert (tmp_path / "a.tsv").read_text() == "has_t2w\tn\ntrue\t1\nfalse\t2\n"


def test_the_checksum_is_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert compute_sha256(tmp_path / "a") == expected


def test_damaged_json_names_the_file(tmp_path):
    (tmp_path / "dataset.json").write_text('{"a": ')
    with pytest.raises(ValueError, match="dataset.json: damaged"):
        read_json(tmp_path / "dataset.json")
