"""CPU seconds of a training step in each ZeRO stage: torchrun --nproc-per-node 2 -m bench.scale

A random Llama of 34M parameters, 4 x 128 tokens in each of two passes a step, bf16 autocast.
"""

from __future__ import annotations

import gc
import json
import statistics
import time

import torch
import torch.distributed
from transformers import LlamaConfig, LlamaForCausalLM

from trainer.backend import make_trained
from trainer.config import ScaleConfig
from trainer.models import autocast
from trainer.ranks import processes
from trainer.reporting import Reporter

SCALES = [
    ScaleConfig(),
    ScaleConfig(zero_stage=1),
    ScaleConfig(zero_stage=2),
    ScaleConfig(zero_stage=3),
    ScaleConfig(zero_stage=2, offload="optimizer"),
    ScaleConfig(zero_stage=3, offload="weights"),
]
STEPS = 5


def loss_of(model: LlamaForCausalLM, ids: torch.Tensor) -> torch.Tensor:
    with autocast("cpu", "bf16"):
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
    assert isinstance(loss, torch.Tensor)
    return loss


def measure(scale: ScaleConfig) -> dict[str, float | str]:
    """The first rank's median step of a few, the first left out."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=8192, hidden_size=512, intermediate_size=1536, num_hidden_layers=8,
        num_attention_heads=8, num_key_value_heads=4,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    with processes(scale, Reporter()) as ranks:
        trained = make_trained(model, optimizer, max_grad_norm=1.0, scale=scale, ranks=ranks)
        ids = torch.randint(0, 8192, (4, 128), generator=torch.Generator().manual_seed(ranks.rank))
        seconds = []
        for _ in range(STEPS + 1):
            began = time.process_time()
            for _ in range(2):
                trained.backward(trained(loss_of, ids) / (2 * ranks.size))
            trained.step()
            seconds.append(time.process_time() - began)
    return {"scale": f"{scale.zero_stage} {scale.offload}", "cpu_seconds": statistics.median(seconds[1:])}


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    for scale in SCALES:
        found = measure(scale)
        gc.collect()
        if torch.distributed.get_rank() == 0:
            print(json.dumps(found), flush=True)
