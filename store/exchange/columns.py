"""An export's lines as Parquet instead: columns and types, smaller and faster to read."""

from __future__ import annotations

import os
from pathlib import Path

GROUP = 10_000


def as_parquet(path: Path) -> Path:
    """Replace a file of JSON lines by a Parquet file of the same rows."""
    # Here and not above: 60 MB that a server needs only when somebody asks for Parquet.
    import pyarrow.json
    import pyarrow.parquet

    # One block: a row must not lie across two.
    options = pyarrow.json.ReadOptions(block_size=path.stat().st_size + 1)
    table = pyarrow.json.read_json(path, read_options=options)
    target = path.with_suffix(".parquet")
    pyarrow.parquet.write_table(table, target, compression="zstd", row_group_size=GROUP)
    os.unlink(path)
    return target
