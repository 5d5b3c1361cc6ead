"""Presets of [ppo]: what each PPO in the literature sets otherwise than the default. Table in docs/ppo.md."""

from __future__ import annotations

from typing import Any, Literal

PresetName = Literal["ppo-max", "vanilla", "ppo-max-paper", "ppo-max-repo-en", "ppo-max-repo-zh"]

VANILLA: dict[str, Any] = {
    "critic_pretrain_updates": 0,
    "kl_coef": 0.0,
    "kl_stop": 0.0,
    "score_clip": 0.0,
    "missing_eos_penalty": 0.0,
    "value_clip_range": 0.0,
    "approx_kl_stop": 0.0,
    "importance_limit": 0.0,
}
"""PPO without the tricks: raw scores, no KL penalty, a critic that learns on the way."""

PAPER: dict[str, Any] = {
    "rollouts": 128,
    "minibatch": 32,
    "lr": 5e-7,
    "critic_lr": 1.65e-6,
    "warmup_share": 0.1,
    "critic_pretrain_updates": 50,
    "score_clip": 0.8,
    "missing_eos_penalty": 0.0,
    "gae_lambda": 0.9,
    "approx_kl_stop": 0.0,
    "importance_limit": 0.0,
    "ptx_coef": 0.1,
}
"""Section 5.4 and appendices B and C of arXiv 2307.04964. The weight of the pretraining loss and the number
of critic updates are not stated there; these are ours. Of the tested score clips 0.3 and 0.8, the looser."""

REPO_EN: dict[str, Any] = {
    "rollouts": 14,
    "minibatch": 14,
    "lr": 5e-7,
    "critic_lr": 1.5e-6,
    "adam_eps": 1e-6,
    "critic_adam_eps": 1e-8,
    "warmup_share": 0.1,
    "lr_decay": "inverse-sqrt",
    "critic_pretrain_updates": 0,
    "kl_coef": 0.01,
    "score_clip": 0.0,
    "score_scaling": True,
    "missing_eos_penalty": 0.0,
    "approx_kl_stop": 0.0,
    "importance_limit": 0.0,
}
"""train_ppo_en.sh of the authors' MOSS-RLHF: 7 GPUs with 2 answers each, scores scaled and not clipped."""

PRESETS: dict[str, dict[str, Any]] = {
    "ppo-max": {},
    "vanilla": VANILLA,
    "ppo-max-paper": PAPER,
    "ppo-max-repo-en": REPO_EN,
    "ppo-max-repo-zh": REPO_EN | {"kl_coef": 0.1},
}
"""By name. `ppo-max` is the default: the defaults of PPOConfig themselves."""
