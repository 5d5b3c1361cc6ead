"""The toy's policy: a Llama of one layer, taught to speak like the source, and a batched sampler for it."""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence

import torch
from torch import nn
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from trainer.experience import parts, read_policy
from trainer.models import RewardModel
from trainer.reproduce.language import ANSWER_TOKENS, END, PAD, VOCABULARY, Language
from trainer.rollout import Rollout

WHOLE_BATCH = 1 << 16
"""Padded tokens in one forward pass: everything is small enough."""
CPU = torch.device("cpu")


def shape() -> LlamaConfig:
    """One layer, 64 wide, two heads."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=False,
        initializer_range=0.05,
        bos_token_id=None,
        eos_token_id=END,
        pad_token_id=PAD,
    )
    config.use_cache = False
    return config


def random_policy(seed: int) -> LlamaForCausalLM:
    """Random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        policy = LlamaForCausalLM(shape())
    policy.eval()
    return policy


def taught_policy(language: Language, seed: int, *, steps: int = 300, batch: int = 64) -> LlamaForCausalLM:
    """A policy taught on the source's answers, prompts masked (SFT)."""
    policy = random_policy(seed)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=5e-3, betas=(0.9, 0.95), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, total_iters=steps)
    texts = language.texts(steps * batch, f"sft-{seed}")
    for step in range(steps):
        loss = source_nll(policy, texts[step * batch : (step + 1) * batch])
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return policy


def source_nll(policy: LlamaForCausalLM, texts: Sequence[Rollout]) -> torch.Tensor:
    """Nats per token of the source's answers under a policy: its language skill."""
    width = max(len(text.response_ids) for text in texts)
    (part,) = parts(texts, range(len(texts)), width, WHOLE_BATCH, CPU)
    logprobs, _ = read_policy(policy, part, 1.0, "bf16")
    return -logprobs.sum() / part.mask.sum()


def critic_of(policy: LlamaForCausalLM, seed: int) -> RewardModel:
    """The policy's transformer under a random scalar head: the critic where no reward model is to be had."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = copy.deepcopy(policy.config)
        config.num_labels = 1
        classifier = LlamaForSequenceClassification(config).eval()
        classifier.model.load_state_dict(policy.model.state_dict())
        nn.init.normal_(classifier.score.weight, std=(config.hidden_size + 1) ** -0.5)
    return RewardModel(classifier)


@torch.no_grad()
def sample(policy: LlamaForCausalLM, prompts: Sequence[list[int]], seed: int) -> list[Rollout]:
    """One answer to each prompt, all in one batch (prompts have one length). The same seed draws the same."""
    chance = torch.Generator().manual_seed(random.Random(f"sample-{seed}").getrandbits(60))
    inputs, cache = torch.tensor(prompts), DynamicCache(config=policy.config)
    drawn, said = [], []
    ended = torch.zeros(len(prompts), dtype=torch.bool)
    for _ in range(ANSWER_TOKENS):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = policy.model(input_ids=inputs, past_key_values=cache, use_cache=True).last_hidden_state
            distribution = torch.log_softmax(policy.lm_head(hidden[:, -1]).float(), dim=-1)
        token = torch.multinomial(distribution.exp(), 1, generator=chance)
        drawn.append(token)
        said.append(distribution.gather(1, token))
        ended |= token[:, 0] == END
        if ended.all():
            break
        inputs = token
    tokens, logprobs = torch.cat(drawn, 1).tolist(), torch.cat(said, 1).tolist()
    return [_cut(*answer) for answer in zip(prompts, tokens, logprobs, strict=True)]


def _cut(prompt: list[int], tokens: list[int], logprobs: list[float]) -> Rollout:
    """An answer up to its end token."""
    length = tokens.index(END) + 1 if END in tokens else len(tokens)
    return Rollout(prompt, tokens[:length], logprobs[:length], END in tokens)
