"""The table of runs. A name stands for one line of docs/reproduction.md."""

from __future__ import annotations

from typing import Any

from trainer.reproduce.run import UNEVEN, UNSEEN, Setting

KL_SWEEP = (0.05, 0.1, 0.2, 0.5)
CLIPS = (0.3, 0.8)
"""Limits of the normalised score."""
ADVANTAGE_CLIPS = (0.12, 0.5)
"""Limits of the whitened advantage."""
FLIPPED = (0.0, 0.2, 0.4)
"""Share of wrong votes behind the learned proxies."""

ENTROPY_COEFS = (0.01, 0.1)
ENTROPY_TARGET = 2.6
"""Nats a token: nine tenths of the taught policy's."""

PPO_MAX: dict[str, Any] = {"kl_coef": 0.2, "critic_pretrain_updates": 10}
"""What differs here from the trainer's PPO-max: four times the KL weight, because it counts per token against
a score per answer and answers are short; more pre-training, because the critic's head starts random."""
SGD: dict[str, Any] = {"lr": 0.3, "max_grad_norm": 0.0}
"""Under Adam, a smaller gradient is no smaller step: what clipping does to the reward can not be seen."""
GROUPS: dict[str, Any] = {"policy_coef": 0.3, "head_lr": 1e-2}


def _vanilla(name: str, **ppo: Any) -> Setting:
    return Setting(name, "vanilla", ppo)


def _sgd(name: str, **ppo: Any) -> Setting:
    return Setting(name, "vanilla", {**SGD, **ppo}, optimizer="sgd")


def _ppo_max(name: str, **ppo: Any) -> Setting:
    return Setting(name, "ppo-max", {**PPO_MAX, **ppo})


def _uneven(name: str, source: str, **groups: Any) -> Setting:
    return Setting(name, "ppo-max", PPO_MAX, {**GROUPS, "source": source, **groups}, language=UNEVEN)


def _unseen(name: str, source: str) -> Setting:
    return Setting(name, "ppo-max", PPO_MAX, {**GROUPS, "source": source}, language=UNSEEN, topics=(0, 1))


SETTINGS: dict[str, Setting] = {
    setting.name: setting
    for setting in (
        _vanilla("vanilla"),
        _ppo_max("ppo-max"),
        *(_vanilla(f"kl-{coef}", score_clip=5.0, kl_coef=coef) for coef in KL_SWEEP),
        _vanilla("scaled", score_scaling=True),
        _sgd("sgd"),
        *(_sgd(f"sgd-score-clip-{limit}", score_clip=limit) for limit in CLIPS),
        *(
            _sgd(f"sgd-advantage-clip-{limit}", advantage_whiten=True, advantage_clip=limit)
            for limit in ADVANTAGE_CLIPS
        ),
        _vanilla("critic-pretrained", critic_pretrain_updates=20, critic_pretrain_target=1.0),
        _vanilla("normalised", score_clip=5.0),
        _vanilla("normalised-ptx", score_clip=5.0, ptx_coef=1.0, ptx_batch=32),
        _vanilla("ratio-reference", ratio_against="reference"),
        _vanilla("ratio-reference-kl", ratio_against="reference", kl_coef=0.05),
        *(
            _vanilla(f"entropy-{coef}", entropy_coef=coef, entropy_target=ENTROPY_TARGET)
            for coef in ENTROPY_COEFS
        ),
        _vanilla("gae-0", gae_lambda=0.0),
        _vanilla("gae-1", gae_lambda=1.0),
        _vanilla("clip-0.5", clip_range=0.5),
        _vanilla("clip-none", clip_range=0.0),
        _vanilla("grad-clip-0.5", max_grad_norm=0.5),
        _vanilla("grad-clip-none", max_grad_norm=0.0),
        _vanilla("epochs-4", epochs=4),
        _ppo_max("ppo-max-no-eos-penalty", missing_eos_penalty=0.0),
        Setting("ppo-max-untaught", "ppo-max", PPO_MAX, taught=False),
        *(Setting(f"flipped-{share}", "ppo-max", PPO_MAX, flipped=share) for share in FLIPPED),
        Setting("vanilla-learned-proxy", "vanilla", flipped=0.0),
        _uneven("groups-off", "off"),
        _uneven("groups-learned", "learned"),
        _uneven("groups-random", "random"),
        _uneven("groups-quantile", "quantile"),
        _uneven("groups-dro", "learned", objective="dro", kl_mode="off"),
        _uneven("groups-shaping", "learned", kl_mode="off"),
        _uneven("groups-kl", "learned", policy_coef=0.0),
        _uneven("groups-published", "learned", kl_mode="published"),
        _unseen("unseen-off", "off"),
        _unseen("unseen-learned", "learned"),
    )
}
