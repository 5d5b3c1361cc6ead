"""Version folders: sealed by writing aside, hashing and renaming; verified before anybody loads them."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MANIFEST = "manifest.json"
ALLOWED = {".safetensors", ".json", ".jinja", ".txt", ".md"}
SPACE_FACTOR = 1.2

# How to see a non-finite number in the bits of each dtype: (numpy type of the bits, exponent mask).
_EXPONENT = {
    "BF16": (np.uint16, 0x7F80),
    "F16": (np.uint16, 0x7C00),
    "F32": (np.uint32, 0x7F800000),
    "F64": (np.uint64, 0x7FF0000000000000),
}


class ArtifactError(Exception):
    """A version folder that must not be loaded; the message names the file and what is wrong."""


def seal(source: Path, target: Path, manifest: dict[str, Any]) -> str:
    """Publish `source` as the immutable folder `target`; the digest of its files.

    Copies aside, hashes while copying, fsyncs, writes the manifest last, renames. A crash at any point leaves
    either no `target` or a whole one. Sealing the same files again is no change.
    Raises ArtifactError for a forbidden file, another content under the same name, or a disk too full.
    """
    names = sorted(path.name for path in source.iterdir() if path.is_file() and path.name != MANIFEST)
    for name in names:
        if Path(name).suffix not in ALLOWED:
            raise ArtifactError(f"{source / name}: only {', '.join(sorted(ALLOWED))} may be published")
    if not names:
        raise ArtifactError(f"{source}: nothing to publish")
    target.parent.mkdir(parents=True, exist_ok=True)
    size = sum((source / name).stat().st_size for name in names)
    free = shutil.disk_usage(target.parent).free
    if free < size * SPACE_FACTOR:
        raise ArtifactError(
            f"{target.parent}: {free >> 20} MiB free, {int(size * SPACE_FACTOR) >> 20} needed"
        )
    aside = target.parent / f".tmp-{secrets.token_hex(6)}"
    aside.mkdir()
    try:
        files = {name: _copy(source / name, aside / name) for name in names}
        digest = _digest(files)
        if target.exists():
            if verify(target)["sha256"] != digest:
                raise ArtifactError(f"{target}: exists with another content; versions are never overwritten")
            return digest
        _write(aside / MANIFEST, json.dumps({**manifest, "files": files, "sha256": digest}, indent=1))
        _sync_folder(aside)
        os.rename(aside, target)
        _sync_folder(target.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return digest


def verify(folder: Path) -> dict[str, Any]:
    """The manifest, after every file's size and hash were compared with it. Raises ArtifactError."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
        files: dict[str, dict[str, Any]] = manifest["files"]
    except FileNotFoundError:
        raise ArtifactError(f"{folder / MANIFEST} is missing: the folder was never sealed") from None
    except (ValueError, KeyError) as error:
        raise ArtifactError(f"{folder / MANIFEST} cannot be read ({error})") from None
    present = {path.name for path in folder.iterdir()} - {MANIFEST}
    if extra := present - set(files):
        raise ArtifactError(f"{folder / min(extra)}: not in the manifest")
    for name, entry in files.items():
        path = folder / name
        if name not in present:
            raise ArtifactError(f"{path} is missing")
        if _sha256(path) != entry["sha256"]:
            raise ArtifactError(f"{path}: checksum differs from the manifest")
    if _digest(files) != manifest.get("sha256"):
        raise ArtifactError(f"{folder / MANIFEST}: digest differs from its own file list")
    return manifest


def check_weights(folder: Path, like: Path | None = None) -> None:
    """Refuse weights that would break an engine. Raises ArtifactError naming the tensor.

    Same names, shapes and dtypes as `like`, `lm_head.weight` present (vLLM's reload keeps the old head when
    it is not), every value finite.
    """
    tensors = _headers(folder)
    if "lm_head.weight" not in tensors:
        raise ArtifactError(f"{folder}: lm_head.weight is missing; a reload would keep the old head")
    if like is not None:
        wanted = {name: (dtype, shape) for name, (_, dtype, shape, _) in _headers(like).items()}
        found = {name: (dtype, shape) for name, (_, dtype, shape, _) in tensors.items()}
        for name in sorted(wanted.keys() | found.keys()):
            if wanted.get(name) != found.get(name):
                raise ArtifactError(
                    f"{folder}: tensor {name} is {found.get(name)}, the version before has {wanted.get(name)}"
                )
    for name, (path, dtype, _, span) in tensors.items():
        if not _finite(path, dtype, span):
            raise ArtifactError(f"{path}: tensor {name} holds NaN or infinity")


def clean(volume: Path) -> None:
    """Remove what interrupted publishing left aside."""
    for kind in ("policies", "reward_models"):
        for aside in (volume / kind).glob(".tmp-*"):
            shutil.rmtree(aside) if aside.is_dir() else aside.unlink()


_Tensor = tuple[Path, str, tuple[int, ...], tuple[int, int]]


def _headers(folder: Path) -> dict[str, _Tensor]:
    """Tensor name -> (file, dtype, shape, first and last byte in the file)."""
    tensors: dict[str, _Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            try:
                header = json.loads(file.read(length))
            except ValueError:
                raise ArtifactError(f"{path}: not a safetensors file") from None
        for name, entry in header.items():
            if name != "__metadata__":
                begin, end = (8 + length + offset for offset in entry["data_offsets"])
                tensors[name] = (path, entry["dtype"], tuple(entry["shape"]), (begin, end))
    if not tensors:
        raise ArtifactError(f"{folder}: no safetensors weights")
    return tensors


def _finite(path: Path, dtype: str, span: tuple[int, int]) -> bool:
    if dtype not in _EXPONENT:
        return True
    kind, mask = _EXPONENT[dtype]
    if span[1] > path.stat().st_size:
        raise ArtifactError(f"{path}: shorter than its header says")
    count = (span[1] - span[0]) // np.dtype(kind).itemsize
    bits: NDArray[Any] = np.memmap(path, dtype=np.uint8, mode="r", offset=span[0], shape=(span[1] - span[0],))
    numbers = bits[: count * np.dtype(kind).itemsize].view(kind)
    return not bool(np.any((numbers & kind(mask)) == kind(mask)))


def _copy(source: Path, target: Path) -> dict[str, Any]:
    """Copy one file and fsync it; its size and hash."""
    hasher, size = hashlib.sha256(), 0
    with open(source, "rb") as reader, open(target, "wb") as writer:
        while block := reader.read(1 << 22):
            hasher.update(block)
            writer.write(block)
            size += len(block)
        writer.flush()
        os.fsync(writer.fileno())
    return {"sha256": hasher.hexdigest(), "bytes": size}


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(files: dict[str, dict[str, Any]]) -> str:
    lines = "".join(f"{entry['sha256']}  {name}\n" for name, entry in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _write(path: Path, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
