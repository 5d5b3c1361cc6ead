"""The findings: what the paper says, the runs that show it, and the orderings that decide, seed by seed.

Only orderings between runs of one seed are asked, never absolute values. Section numbers are those of
arXiv 2307.04964.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from trainer.reproduce.run import Numbers, Run
from trainer.reproduce.settings import ADVANTAGE_CLIPS, CLIPS, FLIPPED, KL_SWEEP


class Check(NamedTuple):
    """One ordering of one seed."""

    text: str
    """With its numbers."""
    holds: bool


Runs = Mapping[str, Run]


class Finding(NamedTuple):
    """A row of the reproduction."""

    name: str
    claim: str
    settings: tuple[str, ...]
    check: Callable[[Runs], list[Check]]


def collapsed(run: Run) -> list[Check]:
    """The signature of pattern collapse (section 5.2): the reward alone looks fine."""
    start, end = run.start, run.end
    return [
        _above("proxy", end["proxy"] / start["proxy"], 1.5, "x start"),
        _below("gold", end["gold"] / start["gold"], 0.5, "x start"),
        _above("truncated share", end["truncated_share"], 0.8),
        _below("perplexity", end["perplexity"] / start["perplexity"], 0.6, "x start"),
    ]


def _collapse(runs: Runs) -> list[Check]:
    vanilla, best = runs["vanilla"].end, runs["ppo-max"].end
    return [
        *collapsed(runs["vanilla"]),
        _above("gold of PPO-max", best["gold"], 3 * vanilla["gold"], "against 3 x vanilla's"),
        _below("KL of PPO-max", best["ref_kl"], 0.3 * vanilla["ref_kl"], "against 0.3 x vanilla's"),
    ]


def _alarm(runs: Runs) -> list[Check]:
    vanilla, best = (_first(runs[name].curve, "alarm") for name in ("vanilla", "ppo-max"))
    return [
        Check(f"vanilla: fires at update {vanilla}", vanilla is not None),
        Check("PPO-max: silent" if best is None else f"PPO-max: fires at update {best}", best is None),
    ]


def _kl_sweep(runs: Runs) -> list[Check]:
    ends = [runs[f"kl-{coef}"].end for coef in KL_SWEEP]
    return [_falling("proxy", ends, "proxy"), _falling("KL", ends, "ref_kl")]


def _score_clip(runs: Runs) -> list[Check]:
    names = ("sgd", *(f"sgd-score-clip-{limit}" for limit in reversed(CLIPS)))
    return [_falling("KL of raw score, clip 0.8, clip 0.3", [runs[name].end for name in names], "ref_kl")]


def _advantage_clip(runs: Runs) -> list[Check]:
    names = ("sgd", *(f"sgd-advantage-clip-{limit}" for limit in reversed(ADVANTAGE_CLIPS)))
    return [_falling("KL of raw, clip 0.5, clip 0.12", [runs[name].end for name in names], "ref_kl")]


def _critic(runs: Runs) -> list[Check]:
    plain, taught = runs["vanilla"].curve, runs["critic-pretrained"].curve
    first = next(at for at, numbers in enumerate(taught) if "policy_loss" in numbers)
    before, after = (_mean(part[:3], "advantage_abs_mean") for part in (plain, taught[first:]))
    variance = taught[first]["explained_variance"]
    cold = plain[0]["explained_variance"]
    return [
        _below("mean abs advantage, first 3 policy updates", after, before / 5, "against a fifth of cold"),
        Check(f"explained variance at the first: {cold:.2f} cold, {variance:.2f} pre-trained", variance > 0),
        Check(
            f"it still collapses: gold {runs['critic-pretrained'].end['gold']:.2f}",
            runs["critic-pretrained"].end["gold"] < 0.5 * runs["vanilla"].start["gold"],
        ),
    ]


def _untaught(runs: Runs) -> list[Check]:
    run = runs["ppo-max-untaught"]
    return [
        _below("gold after", run.end["gold"], run.start["gold"], "against the taught policy untrained"),
        _above("perplexity after", run.end["perplexity"], run.start["perplexity"], "against the same"),
    ]


def _missing_eos(runs: Runs) -> list[Check]:
    penalty, without = runs["ppo-max"].end, runs["ppo-max-no-eos-penalty"].end
    text = "against half of without"
    return [
        _below("truncated share", penalty["truncated_share"], 0.5 * without["truncated_share"], text),
        _above("gold", penalty["gold"], without["gold"], "against without"),
    ]


def _gae(runs: Runs) -> list[Check]:
    low, middle, high = (runs[name] for name in ("gae-0", "vanilla", "gae-1"))
    spread = [_mean(run.curve, "advantage_abs_mean") for run in (low, middle, high)]
    numbers = ", ".join(f"{value:.2f}" for value in spread)
    return [
        _below("proxy with lambda 0", low.end["proxy"], middle.end["proxy"], "against 0.95"),
        Check(f"mean abs advantage rises with lambda: {numbers}", spread == sorted(spread)),
    ]


def _clip_range(runs: Runs) -> list[Check]:
    return _alike(runs, ("clip-0.5", "clip-none"))


def _grad_clip(runs: Runs) -> list[Check]:
    return _alike(runs, ("grad-clip-0.5", "grad-clip-none"))


def _epochs(runs: Runs) -> list[Check]:
    return [
        _above("KL of four passes", runs["epochs-4"].end["ref_kl"], runs["vanilla"].end["ref_kl"], "of one")
    ]


def _reward_model(runs: Runs) -> list[Check]:
    ends = [runs[f"flipped-{share}"].end for share in FLIPPED]
    return [_falling("accuracy", ends, "accuracy"), _falling("gold", ends, "gold")]


FINDINGS: tuple[Finding, ...] = (
    Finding(
        "collapse", "Vanilla PPO collapses, PPO-max does not (5.2, 5.4)", ("vanilla", "ppo-max"), _collapse
    ),
    Finding("alarm", "The action space tells before the reward does (5.2)", ("vanilla", "ppo-max"), _alarm),
    Finding(
        "kl-sweep",
        "The KL weight orders reward and divergence (5.3.2)",
        tuple(f"kl-{coef}" for coef in KL_SWEEP),
        _kl_sweep,
    ),
    Finding(
        "score-clip",
        "Clipping the normalised score holds the policy back, the more the tighter (5.3.1); SGD",
        ("sgd", *(f"sgd-score-clip-{limit}" for limit in CLIPS)),
        _score_clip,
    ),
    Finding(
        "advantage-clip",
        "So does clipping the whitened advantage (5.3.1); SGD",
        ("sgd", *(f"sgd-advantage-clip-{limit}" for limit in ADVANTAGE_CLIPS)),
        _advantage_clip,
    ),
    Finding(
        "critic-pretraining",
        "Pre-training the critic steadies the start, not the end (5.3.3)",
        ("vanilla", "critic-pretrained"),
        _critic,
    ),
    Finding("no-sft", "Without supervised fine-tuning PPO fails (5.3.3)", ("ppo-max-untaught",), _untaught),
    Finding(
        "missing-eos",
        "Ours: a price on answers that do not end closes the hole the collapse goes through",
        ("ppo-max", "ppo-max-no-eos-penalty"),
        _missing_eos,
    ),
    Finding(
        "gae-lambda",
        "GAE with lambda 0 has little variance and learns worse (C.3)",
        ("gae-0", "vanilla", "gae-1"),
        _gae,
    ),
    Finding(
        "clip-range",
        "The surrogate's clip range hardly matters (C.1)",
        ("vanilla", "clip-0.5", "clip-none"),
        _clip_range,
    ),
    Finding(
        "grad-clip",
        "The gradient clip hardly matters (C.2)",
        ("vanilla", "grad-clip-0.5", "grad-clip-none"),
        _grad_clip,
    ),
    Finding(
        "reuse",
        "More passes over a buffer leave the start faster (5.4: small buffers)",
        ("vanilla", "epochs-4"),
        _epochs,
    ),
    Finding(
        "reward-model",
        "The reward model's quality bounds the policy's (4)",
        tuple(f"flipped-{share}" for share in FLIPPED),
        _reward_model,
    ),
)


def _above(name: str, value: float, limit: float, unit: str = "") -> Check:
    return Check(f"{name} {value:.2f} >= {limit:.2f} {unit}".rstrip(), value >= limit)


def _below(name: str, value: float, limit: float, unit: str = "") -> Check:
    return Check(f"{name} {value:.2f} <= {limit:.2f} {unit}".rstrip(), value <= limit)


def _falling(name: str, ends: Sequence[Numbers], key: str) -> Check:
    """Spearman's rank correlation with the position is -1."""
    values = [end[key] for end in ends]
    text = f"{name} falls: {', '.join(f'{value:.2f}' for value in values)}"
    return Check(text, all(one > other for one, other in pairwise(values)))


def _alike(runs: Runs, names: Iterable[str]) -> list[Check]:
    """Proxy and length at the end within 5 % of vanilla's."""
    vanilla = runs["vanilla"].end
    return [
        Check(
            f"{name}: {label} {runs[name].end[key]:.2f} against {vanilla[key]:.2f}",
            abs(runs[name].end[key] / vanilla[key] - 1) <= 0.05,
        )
        for name in names
        for label, key in (("proxy", "proxy"), ("length", "response_length_mean"))
    ]


def _mean(curve: Sequence[Numbers], key: str) -> float:
    return sum(numbers[key] for numbers in curve) / len(curve)


def _first(curve: Sequence[Numbers], key: str) -> int | None:
    """The first update (from 1) at which a number is not 0."""
    return next((at for at, numbers in enumerate(curve, start=1) if numbers[key]), None)
