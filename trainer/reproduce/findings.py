"""The findings: what the paper says, the runs that show it, and which check decides.

Section numbers are those of arXiv 2307.04964.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from trainer.reproduce import checks, group_checks
from trainer.reproduce.checks import Check, Runs, RunsBySeed
from trainer.reproduce.panels import COMMON, WITH_GAP, Panel
from trainer.reproduce.settings import ADVANTAGE_CLIPS, CLIPS, ENTROPY_COEFS, FLIPPED, KL_SWEEP


class Finding(NamedTuple):
    """A row of the reproduction."""

    name: str
    claim: str
    settings: tuple[str, ...]
    check: Callable[[Runs], list[Check]] | None
    """Of one seed."""
    over_seeds: Callable[[RunsBySeed], list[Check]] | None = None
    """Of all seeds together, in place of `check`."""
    panels: Mapping[str, Panel] = COMMON
    """What its picture shows."""


FINDINGS: tuple[Finding, ...] = (
    Finding(
        "collapse",
        "Vanilla PPO collapses, PPO-max does not (5.2, 5.4)",
        ("vanilla", "ppo-max"),
        checks.collapse,
    ),
    Finding(
        "alarm", "The action space tells before the reward does (5.2)", ("vanilla", "ppo-max"), checks.alarm
    ),
    Finding(
        "kl-sweep",
        "The KL weight orders reward and divergence (5.3.2)",
        tuple(f"kl-{coef}" for coef in KL_SWEEP),
        checks.kl_sweep,
    ),
    Finding(
        "reward-scaling",
        "Dividing the score by its deviation does not help (5.3.1)",
        ("scaled",),
        checks.scaling,
    ),
    Finding(
        "score-clip",
        "Clipping the normalised score holds the policy back, the more the tighter (5.3.1); SGD",
        ("sgd", *(f"sgd-score-clip-{limit}" for limit in CLIPS)),
        checks.score_clip,
    ),
    Finding(
        "advantage-clip",
        "So does clipping the whitened advantage (5.3.1); SGD",
        ("sgd", *(f"sgd-advantage-clip-{limit}" for limit in ADVANTAGE_CLIPS)),
        checks.advantage_clip,
    ),
    Finding(
        "critic-pretraining",
        "Pre-training the critic steadies the start, not the end (5.3.3)",
        ("vanilla", "critic-pretrained"),
        checks.critic,
    ),
    Finding(
        "ptx",
        "Mixing pretraining gradients keeps language skill (5.4)",
        ("normalised", "normalised-ptx"),
        checks.ptx,
    ),
    Finding(
        "ratio-reference",
        "The ratio against the reference trades reward for nearness (5.3.2)",
        ("vanilla", "ratio-reference"),
        checks.ratio,
    ),
    Finding(
        "ratio-reference-kl",
        "With a KL penalty too it is steadier still, for less reward (5.3.2)",
        ("ratio-reference", "ratio-reference-kl"),
        checks.ratio_with_kl,
    ),
    Finding(
        "entropy",
        "An entropy hinge holds the policy back too, but not as well (5.3.2, B.3)",
        ("vanilla", *(f"entropy-{coef}" for coef in ENTROPY_COEFS), "ppo-max"),
        checks.entropy,
    ),
    Finding(
        "no-sft", "Without supervised fine-tuning PPO fails (5.3.3)", ("ppo-max-untaught",), checks.untaught
    ),
    Finding(
        "missing-eos",
        "Ours: a price on answers that do not end closes the hole the collapse goes through",
        ("ppo-max", "ppo-max-no-eos-penalty"),
        checks.missing_eos,
    ),
    Finding(
        "gae-lambda",
        "GAE with lambda 0 has little variance and learns worse (C.3)",
        ("gae-0", "vanilla", "gae-1"),
        checks.gae,
    ),
    Finding(
        "clip-range",
        "The surrogate's clip range hardly matters (C.1)",
        ("vanilla", "clip-0.5", "clip-none"),
        checks.clip_range,
    ),
    Finding(
        "grad-clip",
        "The gradient clip hardly matters (C.2)",
        ("vanilla", "grad-clip-0.5", "grad-clip-none"),
        checks.grad_clip,
    ),
    Finding(
        "reuse",
        "More passes over a buffer leave the start faster (5.4: small buffers)",
        ("vanilla", "epochs-4"),
        checks.epochs,
    ),
    Finding(
        "reward-model",
        "The reward model's quality bounds the policy's (4)",
        tuple(f"flipped-{share}" for share in FLIPPED),
        checks.reward_model,
    ),
    Finding(
        "groups",
        "Group-invariant learning narrows the gap between an easy and a hard topic (arXiv 2310.11971)",
        ("groups-off", "groups-learned", "groups-random"),
        group_checks.groups,
        panels=WITH_GAP,
    ),
    Finding(
        "group-baselines",
        "Learned groups narrow it more than halves by score and group DRO (ibid., baselines)",
        ("groups-learned", "groups-quantile", "groups-dro"),
        group_checks.baselines,
        panels=WITH_GAP,
    ),
    Finding(
        "group-dro",
        "Group DRO on the learned groups narrows it too (arXiv 1911.08731)",
        ("groups-off", "groups-dro"),
        group_checks.dro,
        panels=WITH_GAP,
    ),
    Finding(
        "group-parts",
        "Shaping and KL per answer do more together than apart (ibid., ablation); ours: the bound on it",
        ("groups-learned", "groups-shaping", "groups-kl", "groups-published"),
        group_checks.group_parts,
        panels=WITH_GAP,
    ),
    Finding(
        "unseen",
        "On a topic that no training prompt asks about, learned groups do better than PPO-max (ibid.)",
        ("unseen-off", "unseen-learned"),
        group_checks.unseen,
    ),
    Finding(
        "reward-tail",
        "Against a learned proxy, vanilla's rewards grow a long right tail (appendix A)",
        ("flipped-0.0", "vanilla-learned-proxy"),
        checks.reward_tail,
    ),
    Finding(
        "stability",
        "The final quality depends less on the seed (5.4: PPO-max; arXiv 2310.11971: groups)",
        ("vanilla", "ppo-max", "groups-off", "groups-learned"),
        None,
        checks.stability,
    ),
)
