"""The section [votes]: which votes train, and how much one person's may weigh."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from store.records import FLAGS, VoteFlag


class VoteRules(BaseModel):
    """Read by the server, which flags votes as they come, and by the workers, which learn from them."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    leave_out: tuple[VoteFlag, ...] = FLAGS
    """Flags that keep a vote out of training and statistics until a reviewer restores it; a flag that is not
    named only marks."""
    chars_per_second: float = Field(default=250, ge=0)
    """A duel is voted on too quickly by whoever would have read faster than this; silent reading is about 25.
    0 is off."""
    annotator_share: float = Field(default=0.02, gt=0, le=1)
    """Share of the pairs that one annotator may have at most, where the others are many enough."""
    annotator_pairs: int = Field(default=50, ge=1)
    """Pairs that one annotator may have in any case."""
    trial_votes: int = Field(default=0, ge=0)
    """Known verdicts of the queue that a new account gets right before its votes count; until then they wait,
    marked `trial`. Fewer than 7 could be luck, so they are not enough. 0: every vote counts at once."""
    trust: bool = True
    """Votes of those who contradict known verdicts, other annotators and the reward model weigh less."""
    unknown_share: float = Field(default=0.05, gt=0, le=1)
    """Share of the pairs from which on the votes of somebody of whom nothing is known are compared with
    everybody else's before they train; 1 is off."""
