"""Flat passes: answers stand one after another in one row without padding; what all begin with stands once.

The row is [opening | rest 1 | rest 2 | ...]. A rest sees the opening and itself, and its positions go on from
the opening's end, so each token has the state that it has in a row of its own. A chat's system prompt is an
opening: for a short question it is a third of all tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor, nn

from trainer.data import Batch, pad_right
from trainer.models import backbone_of

PROBE = ([1, 2, 3, 4, 5, 6], [1, 2, 3, 7, 8, 9, 10, 11], [1, 2, 3, 6, 4])
PROBE_OPENING = 3


def common_opening(prompts: Sequence[Sequence[int]]) -> int:
    """Tokens that all prompts begin with. None has its last one among them: its answer is read from there."""
    if len(prompts) < 2:
        return 0
    columns = zip(*(prompt[:-1] for prompt in prompts), strict=False)
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))


def flat_batch(
    sequences: Sequence[Sequence[int]], opening: int, device: torch.device | str = "cpu"
) -> tuple[Batch, Tensor]:
    """b sequences as one row of N tokens, and where each one's rest starts, (b,).

    In the place of the attention mask stand the spans of the rests, (1, 1, b, 2) int64: start and length.
    """
    rests = [sequence[opening:] for sequence in sequences]
    counts = torch.tensor([len(rest) for rest in rests])
    starts = opening + counts.cumsum(0) - counts
    ids = torch.tensor([*sequences[0][:opening], *(token for rest in rests for token in rest)])
    positions = torch.cat([torch.arange(opening), *(opening + torch.arange(len(rest)) for rest in rests)])
    batch = Batch(
        input_ids=ids[None].to(device),
        attention_mask=torch.stack([starts, counts], dim=1)[None, None].to(device),
        position_ids=positions[None].to(device),
    )
    return batch, starts.to(device)


@torch.no_grad()
def reads_flat(model: nn.Module) -> bool:
    """Whether a model, whole and on the CPU, gives a flat pass the states of rows of their own.

    Measured, not looked up: a recurrent layer lets a rest see the one before it, and some models take no mask
    of ours. Only windows are looked up: the probe is shorter than they are.
    """
    backbone = backbone_of(model)
    config: Any = backbone.config
    windows = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    if any(windows) or set(getattr(config, "layer_types", None) or ["full_attention"]) != {"full_attention"}:
        return False
    if any(weight.device.type != "cpu" for weight in model.parameters()):
        return False

    def states(batch: Batch) -> Tensor:
        found: Tensor = backbone(**batch.inputs(), use_cache=False).last_hidden_state
        return found.flatten(0, 1)

    flat, starts = flat_batch(PROBE, PROBE_OPENING)
    rows = pad_right(PROBE, 0)
    counts = torch.arange(rows.input_ids.shape[1]) >= PROBE_OPENING
    alone = states(rows)[(rows.attention_mask & counts).flatten()]
    try:
        shared = states(flat)[int(starts[0]) :]
    except (ValueError, RuntimeError, TypeError, IndexError):
        return False
    tolerance = 1e-2 * float(alone.abs().mean())
    return shared.shape == alone.shape and torch.allclose(shared, alone, rtol=1e-2, atol=tolerance)
