"""Version folders: whole or not there, and only weights that an engine can take."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from store.artifacts import ArtifactError, check_weights, clean, seal, verify

SIZES = {"BF16": 2, "F16": 2, "F32": 4, "I64": 8, "F8_E4M3": 1}


Raw = tuple[str, list[int], bytes]
"""A tensor as it lies in the file: dtype, shape, bytes."""


def write_safetensors(path: Path, tensors: Mapping[str, Raw]) -> None:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    blocks = b"".join(data for _, _, data in tensors.values())
    path.write_bytes(len(text).to_bytes(8, "little") + text + blocks)


def zeros(dtype: str, *shape: int) -> Raw:
    return dtype, list(shape), bytes(SIZES[dtype] * int(np.prod(shape)))


def with_value(dtype: str, value: int, at: int = 3) -> Raw:
    """A tensor of 8 zeros with the bits `value` at one place."""
    numbers = np.zeros(8, dtype={2: np.uint16, 4: np.uint32}[SIZES[dtype]])
    numbers[at] = value
    return dtype, [8], numbers.tobytes()


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """A folder as the trainer leaves it."""
    folder = tmp_path / "candidate"
    folder.mkdir()
    tensors = {"model.embed_tokens.weight": zeros("BF16", 8, 4), "lm_head.weight": zeros("BF16", 8, 4)}
    write_safetensors(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text("{}")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return folder


@pytest.fixture
def target(volume: Path) -> Path:
    return volume / "policies" / "v0002"


def weights(folder: Path, **tensors: Raw) -> None:
    """Overwrite the folder's weights."""
    named = {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    write_safetensors(folder / "model.safetensors", {"lm_head.weight": zeros("BF16", 8, 4)} | named)


def test_sealed_folder_verifies_and_keeps_what_the_manifest_says(policy: Path, target: Path) -> None:
    digest = seal(policy, target, {"version": 2, "run_id": "run_1"})
    manifest = verify(target)
    assert (manifest["version"], manifest["run_id"], manifest["sha256"]) == (2, "run_1", digest)
    assert set(manifest["files"]) == {path.name for path in policy.iterdir()}
    assert (target / "model.safetensors").read_bytes() == (policy / "model.safetensors").read_bytes()
    assert [path.name for path in target.parent.iterdir()] == ["v0002"]


def test_sealing_the_same_again_is_no_change(policy: Path, target: Path) -> None:
    digest = seal(policy, target, {"version": 2, "token": 1})
    assert seal(policy, target, {"version": 2, "token": 2}) == digest
    assert verify(target)["token"] == 1


def test_other_content_never_replaces_a_version(policy: Path, target: Path) -> None:
    seal(policy, target, {"version": 2})
    (policy / "config.json").write_text('{"other": 1}')
    with pytest.raises(ArtifactError, match="never overwritten"):
        seal(policy, target, {"version": 2})
    assert (target / "config.json").read_text() == "{}"
    assert [path.name for path in target.parent.iterdir()] == ["v0002"]


@pytest.mark.parametrize("name", ["model.bin", "optimizer.pt", "code.py", "weights.pkl", "noending"])
def test_file_that_could_carry_code_is_refused(policy: Path, target: Path, name: str) -> None:
    (policy / name).write_text("x")
    with pytest.raises(ArtifactError, match=name):
        seal(policy, target, {})
    assert not target.exists()


def test_the_held_back_reward_model_is_sealed_inside_the_other_one(policy: Path, volume: Path) -> None:
    target = volume / "reward_models" / "v0002"
    shutil.copytree(policy, policy / "held_back")
    seal(policy, target, {"version": 2})
    assert "held_back/model.safetensors" in verify(target)["files"]
    (target / "held_back" / "config.json").write_text("{ }")
    with pytest.raises(ArtifactError, match=r"held_back/config\.json: differs from the manifest"):
        verify(target)
    (target / "held_back" / "config.json").write_text("{}")
    (target / "held_back" / "more.json").symlink_to(target / "config.json")
    with pytest.raises(ArtifactError, match=r"held_back/more\.json: not in the manifest"):
        verify(target)


def test_folder_inside_is_refused_not_left_out(policy: Path, target: Path) -> None:
    (policy / "layers.json").mkdir()
    with pytest.raises(ArtifactError, match=r"layers\.json"):
        seal(policy, target, {})


def test_empty_folder_is_refused(tmp_path: Path, target: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError, match="nothing to publish"):
        seal(tmp_path / "empty", target, {})


def test_full_disk_is_refused_before_a_byte_is_written(
    policy: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 50, 50))
    with pytest.raises(ArtifactError, match="0 MiB free"):
        seal(policy, target, {})
    assert list(target.parent.iterdir()) == []


def test_every_flipped_byte_is_named(policy: Path, target: Path) -> None:
    seal(policy, target, {"version": 2})
    for name in ("model.safetensors", "config.json", "chat_template.jinja"):
        whole = (target / name).read_bytes()
        for place in (0, len(whole) // 2, len(whole) - 1):
            broken = bytearray(whole)
            broken[place] ^= 1
            (target / name).write_bytes(broken)
            with pytest.raises(ArtifactError, match=name):
                verify(target)
        (target / name).write_bytes(whole)
    verify(target)


def test_missing_added_linked_and_unsealed_files_are_named(
    policy: Path, target: Path, tmp_path: Path
) -> None:
    seal(policy, target, {"version": 2})
    (target / "config.json").rename(tmp_path / "config.json")
    with pytest.raises(ArtifactError, match=r"config\.json is missing"):
        verify(target)
    (target / "config.json").symlink_to(tmp_path / "config.json")
    with pytest.raises(ArtifactError, match=r"config\.json: not a plain file"):
        verify(target)
    (target / "config.json").unlink()
    (tmp_path / "config.json").rename(target / "config.json")
    (target / "extra.txt").touch()
    with pytest.raises(ArtifactError, match=r"extra\.txt: not in the manifest"):
        verify(target)
    with pytest.raises(ArtifactError, match="never sealed"):
        verify(policy)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": {"config.json": 3}, "sha256": "x"}', "\x00"])
def test_foreign_manifest_is_refused(policy: Path, target: Path, text: str) -> None:
    seal(policy, target, {})
    (target / "manifest.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"manifest\.json is not a manifest"):
        verify(target)


def test_manifest_whose_file_list_was_edited_is_refused(policy: Path, target: Path) -> None:
    seal(policy, target, {})
    manifest = json.loads((target / "manifest.json").read_text())
    del manifest["files"]["config.json"]
    (target / "manifest.json").write_text(json.dumps(manifest))
    (target / "config.json").unlink()
    with pytest.raises(ArtifactError, match="digest"):
        verify(target)


def forked(function: Callable[[], object]) -> int:
    """Run `function` in a child process; the child's id."""
    if child := os.fork():
        return child
    try:
        function()
        os._exit(0)
    finally:
        os._exit(1)


def exit_code(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def die_at(step: int, calls: tuple[str, ...] = ("fsync", "rename")) -> None:
    """Let this process die, as by kill -9, at the given system call from now on."""
    steps = count(1)

    def mortal(call: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*args: object) -> object:
            if next(steps) == step:
                os._exit(9)
            return call(*args)

        return wrapped

    for name in calls:
        setattr(os, name, mortal(getattr(os, name)))


def test_crash_at_any_step_leaves_no_version_or_a_whole_one(policy: Path, target: Path, volume: Path) -> None:
    outcomes = []
    for step in range(1, 12):

        def publish(step: int = step) -> None:
            die_at(step)
            seal(policy, target, {"version": 2})

        survived = exit_code(forked(publish)) == 0
        outcomes.append((survived, target.exists()))
        if target.exists():
            verify(target)
            shutil.rmtree(target)
        clean(volume)
        assert list(target.parent.iterdir()) == []
    # 3 files, the manifest and the folder are synced, then renamed, then the parent is synced.
    assert outcomes == [(False, False)] * 6 + [(False, True)] + [(True, True)] * 4


def test_cleaning_leaves_alone_what_is_being_published_now(policy: Path, target: Path, volume: Path) -> None:
    ready, go = os.pipe(), os.pipe()

    def publish() -> None:
        rename = os.rename

        def slow(*args: Any) -> None:
            os.write(ready[1], b"x")
            os.read(go[0], 1)
            rename(*args)

        vars(os)["rename"] = slow
        seal(policy, target, {"version": 2})

    child = forked(publish)
    os.read(ready[0], 1)
    clean(volume)
    os.write(go[1], b"x")
    assert exit_code(child) == 0
    verify(target)
    for end in (*ready, *go):
        os.close(end)


def test_sound_weights_pass(policy: Path, tmp_path: Path) -> None:
    check_weights(policy)
    check_weights(policy, like=policy)


def test_missing_lm_head_is_refused(policy: Path) -> None:
    write_safetensors(policy / "model.safetensors", {"model.embed_tokens.weight": zeros("BF16", 8, 4)})
    with pytest.raises(ArtifactError, match=r"lm_head\.weight is missing"):
        check_weights(policy)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("BF16", 0x7FC0),  # NaN
        ("BF16", 0x7F80),  # infinity
        ("BF16", 0xFF80),  # minus infinity
        ("F16", 0x7E00),
        ("F16", 0xFC00),
        ("F32", 0x7FC00000),
        ("F32", 0xFF800000),
    ],
)
def test_nan_and_infinity_are_refused_by_tensor(policy: Path, dtype: str, value: int) -> None:
    weights(policy, norm__weight=with_value(dtype, value))
    with pytest.raises(ArtifactError, match=r"norm\.weight holds NaN or infinity"):
        check_weights(policy)


@pytest.mark.parametrize(("dtype", "value"), [("BF16", 0x7F7F), ("F16", 0xFBFF), ("F32", 0x7F7FFFFF)])
def test_largest_finite_numbers_pass(policy: Path, dtype: str, value: int) -> None:
    weights(policy, norm__weight=with_value(dtype, value))
    check_weights(policy)


def test_nan_beyond_the_first_chunk_is_found(policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.artifacts.CHUNK", 4)
    weights(policy, norm__weight=with_value("BF16", 0x7FC0, at=7))
    with pytest.raises(ArtifactError, match="NaN"):
        check_weights(policy)


def test_other_names_shapes_and_dtypes_than_before_are_refused(policy: Path, tmp_path: Path) -> None:
    before = tmp_path / "before"
    shutil.copytree(policy, before)
    embed = "model.embed_tokens.weight"
    for tensors in (
        {},
        {embed: zeros("BF16", 4, 8)},
        {embed: zeros("F32", 8, 4)},
        {embed: zeros("BF16", 8, 4), "extra.weight": zeros("BF16", 1)},
    ):
        weights(policy, **tensors)
        with pytest.raises(ArtifactError, match="the version before has"):
            check_weights(policy, like=before)


def test_dtype_whose_numbers_cannot_be_judged_is_refused(policy: Path) -> None:
    weights(policy, norm__weight=zeros("F8_E4M3", 8))
    with pytest.raises(ArtifactError, match="F8_E4M3"):
        check_weights(policy)


def test_integers_and_empty_tensors_pass(policy: Path) -> None:
    weights(policy, positions=zeros("I64", 4), nothing=zeros("BF16", 0))
    check_weights(policy)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 8,
        b"\x02\0\0\0\0\0\0\0[]",
        b"\x05\0\0\0\0\0\0\0{nope",
        b"\x0f\0\0\0\0\0\0\0" + b'{"a":{"dtype"}}',
    ],
)
def test_file_that_is_no_safetensors_is_refused(policy: Path, data: bytes) -> None:
    (policy / "model.safetensors").write_bytes(data)
    with pytest.raises(ArtifactError, match=r"model\.safetensors"):
        check_weights(policy)


def test_tensor_whose_shape_is_not_its_size_is_refused(policy: Path) -> None:
    _, _, data = zeros("BF16", 8, 4)
    weights(policy, norm__weight=("BF16", [8, 5], data))
    with pytest.raises(ArtifactError, match="another shape"):
        check_weights(policy)


def test_weights_cut_short_are_refused(policy: Path) -> None:
    path = policy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match="cut short"):
        check_weights(policy)


def test_tensor_in_two_files_is_refused(policy: Path) -> None:
    shutil.copy(policy / "model.safetensors", policy / "model-2.safetensors")
    with pytest.raises(ArtifactError, match=r"is in model-2\.safetensors too"):
        check_weights(policy)
