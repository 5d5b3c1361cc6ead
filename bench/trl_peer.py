"""TRL's trainers at work, as `bench.peers` starts them: `python bench/trl_peer.py ppo|reward JOB.json`.

Prints one JSON line a step: {"seconds", "samples", "tokens"}. The settings are the fastest honest ones: bf16
by autocast, no gradient checkpointing (TRL's default, slower), one PPO epoch, no stop token.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ |= {"ACCELERATE_MIXED_PRECISION": "bf16", "TRL_EXPERIMENTAL_SILENCE": "1", "HF_HUB_OFFLINE": "1"}

import torch
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    TrainerCallback,
)


class Clock(TrainerCallback):
    """Seconds between the ends of two steps."""

    def __init__(self, samples: int, tokens: int) -> None:
        self.samples, self.tokens, self.last = samples, tokens, 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.last = time.monotonic()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        seconds, self.last = time.monotonic() - self.last, time.monotonic()
        print(json.dumps({"seconds": seconds, "samples": self.samples, "tokens": self.tokens}), flush=True)


def classifier(folder: str) -> Any:
    return AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=1, pad_token_id=0, dtype=torch.float32, local_files_only=True
    )


def ppo(job: dict[str, Any]) -> None:
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    tokenizer = AutoTokenizer.from_pretrained(job["policy"], padding_side="left")
    tokenizer.pad_token = tokenizer.decode([0])  # not the end token: TRL takes what follows padding for cut
    config = PPOConfig(
        output_dir=job["work"],
        learning_rate=job["lr"],
        response_length=job["tokens"],
        temperature=1.0,
        per_device_train_batch_size=job["micro_batch"],
        gradient_accumulation_steps=job["rollouts"] // job["micro_batch"],
        num_mini_batches=job["minibatches"],
        local_rollout_forward_batch_size=job["rollouts"],
        total_episodes=job["rollouts"] * job["updates"],
        num_ppo_epochs=1,
        num_sample_generations=0,
        gradient_checkpointing=False,
        bf16=True,
        save_strategy="no",
        report_to="none",
        logging_steps=1,
        disable_tqdm=True,
        use_cpu=True,
    )
    policies = [AutoModelForCausalLM.from_pretrained(job["policy"], dtype=torch.float32) for _ in range(2)]
    data = Dataset.from_list([{"input_ids": ids} for ids in job["prompts"]])
    trainer = PPOTrainer(
        args=config,
        processing_class=tokenizer,
        model=policies[0],
        ref_model=policies[1],
        reward_model=classifier(job["reward_model"]),
        value_model=classifier(job["reward_model"]),
        train_dataset=data,
        eval_dataset=data.select(range(1)),
        callbacks=[Clock(job["rollouts"], job["rollouts"] * job["tokens"])],
    )
    trainer.train()


def reward(job: dict[str, Any]) -> None:
    from trl import RewardConfig, RewardTrainer

    tokenizer = AutoTokenizer.from_pretrained(job["policy"])
    tokenizer.pad_token = tokenizer.decode([0])
    config = RewardConfig(
        output_dir=job["work"],
        learning_rate=job["lr"],
        per_device_train_batch_size=job["batch_pairs"],
        num_train_epochs=1,
        max_length=job["max_tokens"],
        gradient_checkpointing=False,
        bf16=True,
        save_strategy="no",
        report_to="none",
        logging_steps=1,
        disable_tqdm=True,
        use_cpu=True,
    )
    rows = [json.loads(line) for line in Path(job["pairs"]).read_text().splitlines()]
    data = Dataset.from_list([{name: row[name] for name in ("prompt", "chosen", "rejected")} for row in rows])
    trainer = RewardTrainer(
        model=classifier(job["policy"]),
        args=config,
        processing_class=tokenizer,
        train_dataset=data,
        callbacks=[Clock(job["batch_pairs"], 0)],
    )
    trainer.train()


if __name__ == "__main__":
    {"ppo": ppo, "reward": reward}[sys.argv[1]](json.loads(Path(sys.argv[2]).read_text()))
