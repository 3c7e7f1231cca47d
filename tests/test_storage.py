"""Files that are whole or not there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coleaf_framework.results.events_file import read_video_events
from coleaf_framework.storage import (
    parse_state,
    read_json,
    read_tensors,
    read_yaml,
    require_place,
    to_json,
    write_atomically,
    write_json,
    write_state,
    write_tensors,
    write_yaml,
)
from coleaf_framework.training.importing import import_checkpoint
from coleaf_framework.training.run_folder import RESUME, RunFolder

HERE = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_tensors(path, {"x": torch.ones(3)})

    def cut(file: Path) -> None:
        file.write_bytes(b"half")
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        write_atomically(path, cut)
    assert torch.equal(read_tensors(path)["x"], torch.ones(3))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("folder", [True, False])
def test_a_place_that_may_not_be_written_to_is_refused_before_any_work(
    folder: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_place(tmp_path / "new" / "model.onnx", "--onnx", folder=folder)
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)  # root may write to what chmod forbids
    with pytest.raises(ValueError, match=r"^--onnx .*model.onnx: .* may not be written to$"):
        require_place(tmp_path / "new" / "model.onnx", "--onnx", folder=folder)


def test_tensors_on_any_layout_come_back_equal(tmp_path: Path) -> None:
    x = torch.randn(3, 4).T
    write_tensors(tmp_path / "a", {"x": x, "y": torch.tensor(2.0)})
    again = read_tensors(tmp_path / "a")
    assert torch.equal(again["x"], x)
    assert again["y"] == 2


def flipped(content: bytes, bit: int) -> bytes:
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


plain = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text(max_size=5)
states = st.recursive(
    plain | st.integers(0, 3).map(lambda n: torch.arange(float(n))),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3),
    max_leaves=8,
)


def same(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor):
        return isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


@HERE
@given(state=states)
def test_a_state_comes_back_as_it_was(tmp_path: Path, state: object) -> None:
    path = tmp_path / "state"
    write_state(path, state)
    assert same(parse_state(path.read_bytes(), path), state)


@HERE
@given(data=st.data())
def test_a_flipped_bit_in_a_checkpoint_is_named_and_the_checkpoint_never_used(
    tmp_path: Path, data: st.DataObject
) -> None:
    """Every bit counts: a flip may only be unseen where it changes nothing that is read."""
    path = tmp_path / "resume.safetensors"
    state = {"model": {"w": torch.arange(6.0), "b": torch.ones(2)}, "history": [{"loss": 0.5}], "steps": 3}
    write_state(path, state)
    whole = path.read_bytes()
    damaged = flipped(whole, data.draw(st.integers(0, 8 * len(whole) - 1)))
    try:
        read = parse_state(damaged, path)
    except ValueError as problem:
        told = str(problem)
        assert told.startswith(f"{path}: damaged")
    else:
        assert same(read, state)


@pytest.mark.parametrize("keep", [0, 5, 8, 60, -1])
def test_a_truncated_checkpoint_is_named(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "model.safetensors"
    write_tensors(path, {"x": torch.ones(30)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"model\.safetensors: damaged"):
        read_tensors(path)


def test_a_file_of_yaml_may_be_changed_by_hand(tmp_path: Path) -> None:
    """Also one of an earlier version, which has a line with its checksum."""
    path = tmp_path / "config.yaml"
    write_yaml(path, {"a": {"b": 1}})
    assert path.read_text() == "a:\n  b: 1\n"
    path.write_text("# checksum 0badc0de of what follows\na:\n  b: 2\n")
    assert read_yaml(path) == {"a": {"b": 2}}


@HERE
@given(data=st.data())
def test_a_flipped_bit_in_an_index_is_named(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "index.json"
    content = {"shards": [{"file": "a", "checksums": [1, 2]}], "dtype": "float16"}
    write_json(path, content)
    whole = path.read_bytes()
    path.write_bytes(flipped(whole, data.draw(st.integers(0, 8 * len(whole) - 1))))
    with pytest.raises(ValueError, match=r"index\.json: damaged"):
        read_json(path)


@HERE
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_readers_take_anything_and_name_the_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any"
    path.write_bytes(content)
    for read in (read_yaml, read_json, read_tensors):
        try:
            read(path)
        except ValueError as problem:
            told = str(problem)
            assert told.startswith(f"{path}: ")


def test_json_for_others_has_null_for_nan() -> None:
    assert to_json({"a": [float("nan"), 1.0]}) == '{"a": [null, 1.0]}'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trainer: {epochs: 3}\ntrainer: {epochs: 4}\n", "line 2: the key 'trainer' a second time"),
        ("trainer: {epochs: 3, epochs: 4}\n", "line 1: the key 'epochs' a second time"),
        ("yes: 1\ntrue: 2\n", "line 2: the key 'true' a second time, which is the value of 'yes' too"),
        ("1: a\n0x1: b\n", "line 2: the key '0x1' a second time, which is the value of '1' too"),
        ("1: a\n1.0: b\n", "line 2: the key '1.0' a second time"),
        ("~: a\n'a': b\nnull: c\n", "line 3: the key 'null' a second time"),
        ("a: &x [1]\nb: *x\n", r"line 2: an alias \(\*x\): write the value out"),
        ("a: &a [x, x]\n" + "".join(f"{n}: &{n} [*{m}, *{m}]\n" for m, n in zip("abcdefgh", "bcdefghi", strict=True)),
         "an alias"),
        ("[" * 5000, "nested too deeply|not readable"),
        ("x: !!timestamp 2024-13-45", "config.yaml: not readable as YAML: month must be"),
        ("x: !!bool maybe", "config.yaml: not readable as YAML: a value does not fit"),
        ("x: !!timestamp now", "config.yaml: not readable as YAML: a value does not fit"),
        ("x: !!map [1]", "config.yaml: not readable as YAML"),
    ],
)  # fmt: skip
def test_yaml_that_says_two_things_or_unfolds_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_yaml(path)


def test_values_that_are_shared_are_written_out(tmp_path: Path) -> None:
    shared = [1, 2]
    write_yaml(tmp_path / "x.yaml", {"a": shared, "b": shared})
    assert read_yaml(tmp_path / "x.yaml") == {"a": [1, 2], "b": [1, 2]}


@pytest.mark.parametrize("text", ["1: a\n'1': b\n", "yes: a\n'yes': b\n", "<<: {a: 1}\na: 2\n"])
def test_keys_of_different_values_are_not_taken_for_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    assert len(read_yaml(tmp_path / "x.yaml")) == (1 if "<<" in text else 2)


def test_a_link_is_replaced_and_its_target_stays(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("somebody's")
    (tmp_path / "x.yaml").symlink_to(tmp_path / "target")
    write_yaml(tmp_path / "x.yaml", {"a": 1})
    assert (tmp_path / "target").read_text() == "somebody's"
    assert not (tmp_path / "x.yaml").is_symlink()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="makes a pipe")
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("config.yaml", read_yaml),
        ("index.json", read_json),
        ("model.safetensors", read_tensors),
        ("HAN.pt", lambda path: import_checkpoint(path, "han")),
        ("predictions.json", lambda path: read_video_events(path, "tr00")),
        (RESUME, lambda path: RunFolder(path.parent, "resume").resume_bytes()),
    ],
)
def test_a_pipe_in_place_of_a_file_is_named_and_not_waited_for(
    tmp_path: Path, name: str, read: Callable[[Path], object]
) -> None:
    (tmp_path / "config.yaml").touch()
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(ValueError, match=rf"{name}: not a regular file$"):
        read(tmp_path / name)
