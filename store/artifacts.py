"""Version folders: sealed by writing aside, hashing and renaming; verified before anybody loads them."""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

MANIFEST = "manifest.json"
SAMPLES = "samples.json"
"""In a version's folder: what it and its parent said to the gate's fixed prompts."""
ALLOWED = {".safetensors", ".json", ".jinja", ".txt", ".md"}
FOLDERS = {"held_back"}
"""Inside another one: the reward model that only the gates ask, beside the one that PPO follows."""
SPACE_FACTOR = 1.2
HEADER_BYTES = 100 << 20
_METADATA = "__metadata__"
CHUNK = 1 << 22

# How to see a non-finite number in the bits of each dtype: (numpy type of the bits, exponent mask).
_EXPONENT: dict[str, tuple[type[np.unsignedinteger[Any]], int]] = {
    "BF16": (np.uint16, 0x7F80),
    "F16": (np.uint16, 0x7C00),
    "F32": (np.uint32, 0x7F800000),
    "F64": (np.uint64, 0x7FF0000000000000),
}
_EXACT = {"BOOL": 1, "U8": 1, "I8": 1, "U16": 2, "I16": 2, "U32": 4, "I32": 4, "U64": 8, "I64": 8}


class ArtifactError(Exception):
    """A version folder that must not be loaded; the message names the file and what is wrong."""


class _File(BaseModel):
    sha256: str
    bytes: int


class _Manifest(BaseModel):
    model_config = ConfigDict(extra="allow")

    files: dict[str, _File]
    sha256: str


def seal(source: Path, target: Path, manifest: dict[str, Any]) -> str:
    """Publish `source` as the immutable folder `target`; the digest of its files.

    Copies aside, hashes while copying, fsyncs, writes the manifest last, renames. A crash at any point leaves
    either no `target` or a whole one. Sealing the same files again is no change.
    Raises ArtifactError for a forbidden file, another content under the same name, or a disk too full.
    """
    names = _publishable(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    needed = int(sum((source / name).stat().st_size for name in names) * SPACE_FACTOR)
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise ArtifactError(f"{target.parent}: {free >> 20} MiB free, {needed >> 20} needed: make room")
    with _aside(target.parent) as aside:
        files = {name: _copy(source / name, aside / name) for name in names}
        for inner in {(aside / name).parent for name in names} - {aside}:
            sync_folder(inner)
        digest = _digest(files)
        entries = {name: file.model_dump() for name, file in files.items()}
        _write(aside / MANIFEST, json.dumps({**manifest, "files": entries, "sha256": digest}, indent=1))
        sync_folder(aside)
        try:
            os.rename(aside, target)
        except OSError:  # a folder that is there is never replaced
            if not target.exists():
                raise
            if verify(target)["sha256"] != digest:
                raise ArtifactError(
                    f"{target}: exists with another content; versions are never overwritten"
                ) from None
        sync_folder(target.parent)
    return digest


def verify(folder: Path) -> dict[str, Any]:
    """The manifest, after every file's size and hash were compared with it. Raises ArtifactError."""
    try:
        manifest = _Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise ArtifactError(f"{folder / MANIFEST} is missing: the folder was never sealed") from None
    except ValidationError as error:
        raise ArtifactError(f"{folder / MANIFEST} is not a manifest ({error.errors()[0]['msg']})") from None
    present = set(_names(folder)) - {MANIFEST}
    if extra := present - set(manifest.files):
        raise ArtifactError(f"{folder / min(extra)}: not in the manifest")
    for name, file in manifest.files.items():
        path = folder / name
        if name not in present:
            raise ArtifactError(f"{path} is missing")
        if path.is_symlink() or not path.is_file():
            raise ArtifactError(f"{path}: not a plain file")
        if path.stat().st_size != file.bytes or _sha256(path) != file.sha256:
            raise ArtifactError(f"{path}: differs from the manifest")
    if _digest(manifest.files) != manifest.sha256:
        raise ArtifactError(f"{folder / MANIFEST}: digest differs from its own file list")
    return manifest.model_dump()


def check_weights(folder: Path, like: Path | None = None) -> None:
    """Refuse weights that would break an engine. Raises ArtifactError naming the tensor.

    Same names, shapes and dtypes as `like`, `lm_head.weight` present (vLLM's reload keeps the old head when
    it is not), every value finite.
    """
    tensors = _tensors(folder)
    if "lm_head.weight" not in tensors:
        raise ArtifactError(f"{folder}: lm_head.weight is missing; a reload would keep the old head")
    if like is not None:
        wanted = {name: (tensor.dtype, tensor.shape) for name, tensor in _tensors(like).items()}
        found = {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()}
        for name in sorted(wanted.keys() | found.keys()):
            if wanted.get(name) != found.get(name):
                raise ArtifactError(
                    f"{folder}: tensor {name} is {found.get(name)}, the version before has {wanted.get(name)}"
                )
    for name, tensor in tensors.items():
        if not _finite(tensor):
            raise ArtifactError(f"{tensor.path}: tensor {name} holds NaN or infinity")


def clean(volume: Path) -> None:
    """Remove what interrupted publishing left aside; what is being published right now stays."""
    for kind in ("policies", "reward_models"):
        for aside in (volume / kind).glob(".tmp-*"):
            if aside.is_dir():
                with _locked(aside) as free:
                    if free:
                        shutil.rmtree(aside, ignore_errors=True)
            else:
                aside.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a rename inside the folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class _Tensor(NamedTuple):
    path: Path
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class _Header(BaseModel):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


_HEADERS = TypeAdapter(dict[str, _Header])


def _tensors(folder: Path) -> dict[str, _Tensor]:
    """Tensor name -> where it is, from the headers; every place checked against the file's size."""
    tensors: dict[str, _Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            try:
                if length > min(size, HEADER_BYTES):
                    raise ValueError("header too long")
                header = json.loads(file.read(length)).items()
                found = _HEADERS.validate_python(
                    {name: one for name, one in header if name != "__metadata__"}
                )
            except (ValueError, AttributeError):
                raise ArtifactError(f"{path}: not a safetensors file") from None
        for name, entry in found.items():
            begin, end = (8 + length + offset for offset in entry.data_offsets)
            width = _EXACT.get(entry.dtype) or np.dtype(_exponent(path, name, entry.dtype)[0]).itemsize
            if not 8 + length <= begin <= end <= size or end - begin != width * math.prod(entry.shape):
                raise ArtifactError(f"{path}: tensor {name} is cut short or has another shape than it says")
            if name in tensors:
                raise ArtifactError(f"{path}: tensor {name} is in {tensors[name].path.name} too")
            tensors[name] = _Tensor(path, entry.dtype, entry.shape, begin, end)
    if not tensors:
        raise ArtifactError(f"{folder}: no safetensors weights")
    return tensors


def _exponent(path: Path, name: str, dtype: str) -> tuple[type[np.unsignedinteger[Any]], int]:
    if dtype not in _EXPONENT:
        raise ArtifactError(f"{path}: tensor {name} has dtype {dtype}; publish bf16, fp16 or fp32")
    return _EXPONENT[dtype]


def _finite(tensor: _Tensor) -> bool:
    if tensor.dtype in _EXACT:
        return True
    kind, mask = _EXPONENT[tensor.dtype]
    with open(tensor.path, "rb") as file:
        file.seek(tensor.begin)
        left = tensor.end - tensor.begin
        while left > 0:
            bits = np.frombuffer(file.read(min(left, CHUNK)), dtype=kind)
            if np.any((bits & kind(mask)) == kind(mask)):
                return False
            left -= bits.nbytes
    return True


def _publishable(source: Path) -> list[str]:
    """The names of the files to publish. Raises ArtifactError for what must not be."""
    names = [name for name in _names(source) if name != MANIFEST]
    folders = [path for path in source.iterdir() if path.is_dir() and path.name not in FOLDERS]
    for path in [*folders, *(source / name for name in names)]:
        if not path.is_file() or path.suffix not in ALLOWED:
            raise ArtifactError(f"{path}: only {', '.join(sorted(ALLOWED))} files may be published")
    if not names:
        raise ArtifactError(f"{source}: nothing to publish")
    return names


def _names(folder: Path) -> list[str]:
    """All that is in a version folder but real folders, as paths in it such as `held_back/config.json`."""
    paths = sorted(folder.rglob("*"))
    return [path.relative_to(folder).as_posix() for path in paths if path.is_symlink() or not path.is_dir()]


@contextmanager
def _aside(parent: Path) -> Iterator[Path]:
    """A new folder that `clean` leaves alone while this process lives; gone at the end if not renamed."""
    aside = parent / f".tmp-{secrets.token_hex(6)}"
    aside.mkdir()
    try:
        with _locked(aside):
            yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold the folder's lock, which dies with the process; False when another one holds it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        yield _lock(handle)
    finally:
        os.close(handle)


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _copy(source: Path, target: Path) -> _File:
    """Copy one file and fsync it; its size and hash."""
    hasher, size = hashlib.sha256(), 0
    target.parent.mkdir(exist_ok=True)
    with open(source, "rb") as reader, open(target, "wb") as writer:
        while block := reader.read(CHUNK):
            hasher.update(block)
            writer.write(block)
            size += len(block)
        writer.flush()
        os.fsync(writer.fileno())
    return _File(sha256=hasher.hexdigest(), bytes=size)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(files: dict[str, _File]) -> str:
    lines = "".join(f"{file.sha256}  {name}\n" for name, file in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _write(path: Path, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
