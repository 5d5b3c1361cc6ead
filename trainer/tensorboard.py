"""TensorBoard: every metric as a scalar, the shown answers as text, in an event file.

`tensorboard --logdir FOLDER` shows it. The records are written by tensorboardX, which needs no TensorFlow.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.summary import text as text_summary

from trainer.reporting import read_sample

FLUSH_S = 2.0
"""A flush waits for the disk, and a small step takes milliseconds."""


class TensorBoard:
    """A sink: one new event file in `folder`, under the metrics' own names.

    The file begins with the step at which the run starts. TensorBoard then drops what older files of the
    folder say of this step and later ones: a resumed training has one curve.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: EventsWriter | None = None
        self._flushed = 0.0

    def metric(self, step: int, of: int | None, values: Mapping[str, float]) -> None:
        scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(step, Summary(value=scalars))

    def log(self, text: str) -> None:
        if (sample := read_sample(text)) is not None:
            said = f"**{sample['prompt']}**\n\n{sample['answer']}\n\nscore {sample['score']}"
            self._write(sample["update"], text_summary("sample", said))

    def done(self, report: Mapping[str, Any]) -> None:
        """Nothing: a report has no step."""

    def error(self, message: str) -> None:
        """Nothing: TensorBoard shows curves."""

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _write(self, step: int, summary: Summary) -> None:
        now = time.time()
        if self._writer is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._writer = EventsWriter(str(self._folder / "events"), f".{os.getpid()}")
            start = SessionLog(status=SessionLog.START)
            self._writer.write_event(Event(wall_time=now, step=step, session_log=start))
        self._writer.write_event(Event(wall_time=now, step=step, summary=summary))
        if now - self._flushed > FLUSH_S:
            self._writer.flush()
            self._flushed = now
