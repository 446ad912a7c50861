import json

import pytest
import torch
from safetensors.torch import save

from render.errors import StoreError, StoreVersionError
from render.head.motion import Motion
from render.store import damage_named, load_tensors, save_tensors, write_atomic, write_json
from render.text import read_json


def test_round_trip_and_same_bytes(tmp_path):
    tensors = {"b": torch.arange(3), "a": torch.rand(2, 2)}
    for name in ("one", "two"):
        save_tensors(tmp_path / name, "thing", 3, tensors, {"x": [1, "é"]})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    loaded, facts = load_tensors(tmp_path / "one", "thing", 3)
    assert facts == {"x": [1, "é"]}
    torch.testing.assert_close(loaded["a"], tensors["a"])


def test_refusals_say_what_and_what_next(tmp_path):
    path = tmp_path / "file.safetensors"
    with pytest.raises(StoreError, match="no such file"):
        load_tensors(path, "thing", 1)
    path.write_bytes(b"not safetensors at all")
    with pytest.raises(StoreError, match="not a readable thing file"):
        load_tensors(path, "thing", 1)
    save_tensors(path, "thing", 2, {"a": torch.zeros(1)}, {})
    with pytest.raises(StoreError, match="is a thing file, expected other"):
        load_tensors(path, "other", 2)
    with pytest.raises(StoreVersionError, match="thing version 2, this program reads version 1"):
        load_tensors(path, "thing", 1)


@pytest.mark.parametrize("header", ["[]", "7", "{}", "[" * 100_000, '{"format": "thing"}', "no json"])
def test_foreign_headers_are_one_line(tmp_path, header):
    path = tmp_path / "file.safetensors"
    path.write_bytes(save({"a": torch.zeros(1)}, {"adapt": header}))
    with pytest.raises(StoreError) as refused:
        load_tensors(path, "thing", 1)
    assert str(path) in str(refused.value)
    for facts in ({}, {"facts": 7}):
        path.write_bytes(
            save({"a": torch.zeros(1)}, {"adapt": json.dumps({"format": "thing", "format_version": 1} | facts)})
        )
        with pytest.raises(StoreError, match="damaged"):
            load_tensors(path, "thing", 1)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("lower_expression", torch.zeros(3, 4), r"lower_expression is float32 \[3, 4\], expected float32 \[4, 4\]"),
        ("confidence", torch.ones(4, dtype=torch.float64), "confidence is float64"),
        ("confidence", torch.full((4,), 1.5), "not between 0 and 1"),
        ("lower_expression", torch.full((4, 3), float("nan")), "no numbers"),
        ("timestamps", torch.zeros(4, dtype=torch.float64), "do not increase"),
        ("lower_expression", torch.full((4, 3), 1e30), "not between -1e\\+06 and 1e\\+06"),
        ("colour", torch.zeros(1), "missing or unknown: colour"),
    ],
)
def test_a_motion_that_is_none_is_refused_by_name(tmp_path, name, value, message):
    motion = Motion(torch.arange(4, dtype=torch.float64) / 25, torch.rand(4, 3), torch.ones(4))
    save_tensors(tmp_path / "motion.safetensors", "adapt-motion", 1, {**vars(motion), name: value}, {})
    with pytest.raises(StoreError, match=message):
        Motion.load(tmp_path / "motion.safetensors")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "kept.txt"
    path.write_text("old")

    def broken(temporary):
        temporary.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, broken)
    assert [p.name for p in tmp_path.iterdir()] == ["kept.txt"]
    assert path.read_text() == "old"


def test_motion_round_trip(tmp_path):
    motion = Motion(torch.arange(4, dtype=torch.float64) / 25, torch.rand(4, 3), torch.ones(4))
    motion.save(tmp_path / "motion.safetensors")
    loaded = Motion.load(tmp_path / "motion.safetensors")
    for name, value in vars(motion).items():
        torch.testing.assert_close(getattr(loaded, name), value)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[" * 100_000, "[" * 300 + "]" * 300, '{"a": NaN}', '["\\ud800"]', "[1e999]", b"\xff".decode("latin1")],
)
def test_json_that_cannot_be_written_again_is_refused(tmp_path, text):
    file = tmp_path / "facts.json"
    file.write_text(text, encoding="latin1")
    with pytest.raises(StoreError, match="facts.json: cannot be read as JSON"):
        read_json(file)


@pytest.mark.parametrize("value", [None, 1.5, "é", [], {"a": [{"b": None}]}])
def test_json_comes_back(tmp_path, value):
    write_json(tmp_path / "facts.json", value)
    assert read_json(tmp_path / "facts.json") == value


@pytest.mark.parametrize("value", [float("inf"), float("nan"), None, "x"])
def test_a_number_that_is_none_is_the_files_fault(tmp_path, value):
    with (
        pytest.raises(StoreError, match="facts: damaged, or no thing of ours"),
        damage_named(tmp_path / "facts", "thing"),
    ):
        int(value)


@pytest.mark.parametrize("said", ["C64", "U16", "U32", "U64", "F8_E4M3", "F8_E5M2", "F8_E8M0"])
def test_types_that_nothing_counts_with_are_one_line(tmp_path, said):
    path = tmp_path / "file.safetensors"
    save_tensors(path, "thing", 1, {"a": torch.zeros(8, dtype=torch.uint8)}, {})
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    count = 64 // int("".join(filter(str.isdigit, said.partition("_")[0])))
    header["a"] |= {"dtype": said, "shape": [count]}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])
    with pytest.raises(StoreError, match=r"a is [a-z0-9_]+ \[[0-9]\], which no file of ours holds") as refused:
        load_tensors(path, "thing", 1)
    assert str(path) in str(refused.value) and len(str(refused.value).splitlines()) == 1
