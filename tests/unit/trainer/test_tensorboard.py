"""TensorBoard files, read back by a reader of our own: TFRecord frames and CRCs, then protobuf fields."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from trainer.json_lines import JsonLines
from trainer.reporting import Reporter
from trainer.tensorboard import TensorBoard


class Event(NamedTuple):
    """What one record says."""

    step: int
    scalars: dict[str, float]
    texts: dict[str, str]
    restarts: bool


def crc32c(data: bytes) -> int:
    """RFC 3720, appendix B.4, a bit at a time."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> int:
    """TFRecord's mask: rotated right by 15 bits plus a constant."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records(path: Path) -> list[bytes]:
    """Each record: length (8 bytes), its CRC (4), the data, its CRC (4); little-endian."""
    found, data = [], path.read_bytes()
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        record = data[12 : 12 + length]
        assert struct.unpack("<I", data[8:12]) == (masked(data[:8]),)
        assert struct.unpack("<I", data[12 + length : 16 + length]) == (masked(record),)
        found.append(record)
        data = data[16 + length :]
    return found


def fields(message: bytes) -> list[tuple[int, Any]]:
    """Number and value of each field: varints as numbers, everything else as bytes."""
    found: list[tuple[int, int | bytes]] = []
    while message:
        key, message = varint(message)
        kind, size = key & 7, {1: 8, 5: 4}.get(key & 7, 0)
        if kind == 0:
            number, message = varint(message)
            found.append((key >> 3, number))
            continue
        if kind == 2:
            size, message = varint(message)
        found.append((key >> 3, message[:size]))
        message = message[size:]
    return found


def varint(data: bytes) -> tuple[int, bytes]:
    value = 0
    for place, byte in enumerate(data):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, data[place + 1 :]
    raise AssertionError("a varint without an end")


def read(path: Path) -> list[Event]:
    """The numbers are those of TensorFlow's event.proto and summary.proto."""
    events = []
    for record in records(path):
        event = dict(fields(record))  # 2 step, 5 summary, 7 session log
        scalars, texts = {}, {}
        for number, value in fields(bytes(event.get(5, b""))):
            assert (number, type(value)) == (1, bytes)
            part = dict(fields(value))
            tag = part[1].decode()
            if 2 in part:
                (scalars[tag],) = struct.unpack("<f", part[2])
            if 8 in part:
                texts[tag] = dict(fields(part[8]))[8].decode()
        events.append(Event(event.get(2, 0), scalars, texts, event.get(7) == b"\x08\x01"))
    return events


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_the_reference_reader_knows_the_published_checksum() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4


def test_the_file_holds_the_numbers_of_the_json_lines(tmp_path: Path) -> None:
    lines = io.StringIO()
    reporter = Reporter(JsonLines(lines), TensorBoard(tmp_path / "tensorboard"))
    rows = [{"reward_mean": 0.1 * step, "ref_kl": 1e-9 + step, "lr": 1e-5 / step} for step in range(1, 60)]
    for step, row in enumerate(rows, start=1):
        reporter.metric(step, 59, row)
    reporter.done({"updates": 59})
    reporter.close()

    path = only_file(tmp_path / "tensorboard")
    said = [json.loads(line) for line in lines.getvalue().splitlines()]
    curve = [(event.step, event.scalars) for event in read(path) if event.scalars]
    assert ".out.tfevents." in path.name
    assert [step for step, _ in curve] == [line["step"] for line in said if line["event"] == "metric"]
    for (_, scalars), line in zip(curve, said[:-1], strict=True):
        assert scalars == pytest.approx(line["values"], rel=1e-6)  # float32


def test_the_shown_answers_are_texts_and_other_lines_are_not(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path)
    board.log("resumed after update 6")
    sample = {"update": 7, "prompt": "Fruit?", "answer": "Plum ☺", "tokens": 3, "ended": True, "score": 0.5}
    board.log(f"sample {json.dumps(sample)}")
    board.close()

    (text,) = [event for event in read(only_file(tmp_path)) if event.texts]
    assert (text.step, text.texts) == (7, {"sample/text_summary": "**Fruit?**\n\nPlum ☺\n\nscore 0.5"})


def test_a_resumed_training_takes_the_place_of_what_it_trains_again(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path)
    board.metric(11, 20, {"loss": 1.0})
    board.close()

    version, restart, metric = read(only_file(tmp_path))
    # TensorBoard drops older events from the step of a START on.
    assert (version.step, version.restarts) == (0, False)
    assert (restart.step, restart.restarts) == (11, True)
    assert (metric.step, metric.scalars) == (11, {"loss": 1.0})


def test_a_value_is_on_the_disk_before_the_run_ends(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path)
    board.metric(1, 2, {"loss": 1.0})

    assert [event.scalars for event in read(only_file(tmp_path))] == [{}, {}, {"loss": 1.0}]
    board.close()


def test_nothing_said_is_no_file(tmp_path: Path) -> None:
    TensorBoard(tmp_path / "none").close()

    assert not (tmp_path / "none").exists()
