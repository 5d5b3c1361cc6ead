"""The settings that a training would have, as the trainer itself resolves and checks them."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

from server.errors import Problem
from store.run_options import TRAINER, RunOptions
from store.settings import read_sections

TIMEOUT_S = 20.0
OPTION_OF = {field: option for option, field in TRAINER.items()}


async def resolved(config: Path, options: RunOptions) -> dict[str, dict[str, Any]]:
    """The file's sections with the options in them; those of the trainer have every field.

    The trainer is asked as a process of its own: the server knows no training. Raises Problem, which names
    the option where one is at fault.
    """
    sections = await asyncio.to_thread(read_sections, config)
    words = ["settings", "--config", str(config), *options.trainer_arguments()]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "trainer", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise Problem(
            503, "busy", "the trainer did not say its settings in time", remedy="try again"
        ) from None
    event: dict[str, Any] = json.loads(said.decode().splitlines()[-1]) if said else {}
    if event.get("event") != "done":
        raise _refused(str(event.get("message", "the trainer did not say its settings; look at the log")))
    return options.over(sections | event["report"])


def _refused(message: str) -> Problem:
    """What the trainer said, at the option that it is about."""
    for field, option in OPTION_OF.items():
        if found := re.search(rf"{re.escape(field)}: ([^;]+)", message):
            what = f"{field}: {found[1]}"
            return Problem(422, "bad_setting", what, field=option, remedy="give another value")
    return Problem(422, "bad_setting", message, remedy="mend the configuration file")
