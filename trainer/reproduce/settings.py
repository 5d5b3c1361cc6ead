"""The table of runs. A name stands for one line of docs/reproduction.md."""

from __future__ import annotations

from typing import Any

from trainer.reproduce.run import Setting

KL_SWEEP = (0.05, 0.1, 0.2, 0.5)
CLIPS = (0.3, 0.8)
"""Limits of the normalised score."""
ADVANTAGE_CLIPS = (0.12, 0.5)
FLIPPED = (0.0, 0.2, 0.4)
"""Share of wrong votes behind the learned proxies."""

NORMALISED: dict[str, Any] = {"score_clip": 5.0}
PPO_MAX: dict[str, Any] = {
    **NORMALISED,
    "kl_coef": 0.1,
    "missing_eos_penalty": 1.0,
    "value_clip_range": 0.2,
    "critic_pretrain_updates": 10,
    "importance_limit": 2.0,
}
"""The trainer's defaults but for two: twice the KL weight, and more pre-training for a critic whose head is
random."""
SGD: dict[str, Any] = {"lr": 0.3, "max_grad_norm": 0.0}


def _sgd(name: str, **ppo: Any) -> Setting:
    return Setting(name, {**SGD, **ppo}, optimizer="sgd")


VANILLA_RUN = Setting("vanilla")
PPO_MAX_RUN = Setting("ppo-max", PPO_MAX)

SETTINGS: dict[str, Setting] = {
    setting.name: setting
    for setting in (
        VANILLA_RUN,
        PPO_MAX_RUN,
        *(Setting(f"kl-{coef}", {**NORMALISED, "kl_coef": coef}) for coef in KL_SWEEP),
        _sgd("sgd"),
        *(_sgd(f"sgd-score-clip-{limit}", score_clip=limit) for limit in CLIPS),
        *(_sgd(f"sgd-advantage-clip-{limit}", advantage_clip=limit) for limit in ADVANTAGE_CLIPS),
        Setting("critic-pretrained", {"critic_pretrain_updates": 20}),
        Setting("ppo-max-untaught", PPO_MAX, taught=False),
        Setting("ppo-max-no-eos-penalty", {**PPO_MAX, "missing_eos_penalty": 0.0}),
        Setting("gae-0", {"gae_lambda": 0.0}),
        Setting("gae-1", {"gae_lambda": 1.0}),
        Setting("clip-0.5", {"clip_range": 0.5}),
        Setting("clip-none", {"clip_range": 1000.0}),
        Setting("grad-clip-0.5", {"max_grad_norm": 0.5}),
        Setting("grad-clip-none", {"max_grad_norm": 0.0}),
        Setting("epochs-4", {"epochs": 4}),
        *(Setting(f"flipped-{share}", PPO_MAX, flipped=share) for share in FLIPPED),
    )
}
