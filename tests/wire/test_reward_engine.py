"""A reward model's folder scores the same in plain transformers, TRL and vLLM's pooling runner."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from store.records import ChatTurn, PreferencePair
from trainer.config import RewardConfig
from trainer.data import load_tokenizer, prompt_ids, response_ids
from trainer.models import load_reward_model
from trainer.ranking import score_sequences
from trainer.reporting import Reporter
from trainer.reward import train_reward_model

pytestmark = pytest.mark.timeout(180)

WORDS = ("plum", "rock", "a much longer answer about plums and rocks", "", "\u6885\u5b50")

# In a process of its own, as a stranger would load it: nothing of ours is imported.
ENGINE = """
import json, sys
from vllm import LLM, PoolingParams
folder, ids = sys.argv[1], json.loads(sys.argv[2])
engine = LLM(folder, runner="pooling", dtype="bfloat16", enforce_eager=True, max_model_len=256)
rows = [{"prompt_token_ids": row} for row in ids]
outputs = engine.classify(rows, pooling_params=PoolingParams(use_activation=False), use_tqdm=False)
print("SCORES", json.dumps([output.outputs.probs[0] for output in outputs]))
"""


@pytest.fixture(scope="module")
def folder(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pairs = [
        PreferencePair(
            prompt=(ChatTurn(role="user", content=f"question {number}"),),
            chosen=(ChatTurn(role="assistant", content="a plum"),),
            rejected=(ChatTurn(role="assistant", content="the rock"),),
        )
        for number in range(16)
    ]
    out = tmp_path_factory.mktemp("reward") / "rm"
    train_reward_model(
        policy=tiny_policy,
        pairs=pairs,
        held_out=pairs[:4],
        seed_pairs=[],
        out=out,
        config=RewardConfig(lr=1e-3, head_lr=1e-2, epochs=3),
        reporter=Reporter(),
    )
    return out


@pytest.fixture(scope="module")
def sequences(folder: Path) -> list[list[int]]:
    tokenizer = load_tokenizer(folder)
    prompt = prompt_ids(tokenizer, (ChatTurn(role="user", content="What is it?"),), 200)
    return [prompt + response_ids(tokenizer, word) for word in WORDS]


@pytest.fixture(scope="module")
def ours(folder: Path, sequences: list[list[int]]) -> torch.Tensor:
    scores = score_sequences(load_reward_model(folder), sequences, 0, 4096)
    assert float(scores.std()) > 0.05, "scores that are all the same would prove nothing"
    return scores


def test_vllm_gives_the_same_scores(folder: Path, sequences: list[list[int]], ours: torch.Tensor) -> None:
    environment = os.environ | {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", ENGINE, str(folder), json.dumps(sequences)],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=170,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("SCORES ")]
    assert lines, done.stderr[-3000:]
    theirs = torch.tensor(json.loads(lines[0].removeprefix("SCORES ")))
    spread = float(ours.std())
    # Both in bf16, with other kernels.
    torch.testing.assert_close(theirs, ours, atol=0.1 * spread, rtol=0.02)


def test_trl_gives_the_same_scores(folder: Path, sequences: list[list[int]], ours: torch.Tensor) -> None:
    # How TRL's PPO scores answers: it finds the last token by the pad id alone.
    utils = pytest.importorskip("trl.experimental.utils")
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer.pad({"input_ids": sequences}, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        _, theirs, _ = utils.get_reward(model, ids, tokenizer.pad_token_id, context_length=4)
    torch.testing.assert_close(theirs, ours, atol=0.1 * float(ours.std()), rtol=0.02)
