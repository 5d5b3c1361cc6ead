"""The orderings that decide a finding about PPO, for the runs of one seed; never absolute values."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from trainer.reproduce.run import Numbers, Run
from trainer.reproduce.settings import ADVANTAGE_CLIPS, CLIPS, ENTROPY_COEFS, FLIPPED, KL_SWEEP


class Check(NamedTuple):
    """One ordering of one seed."""

    text: str
    """With its numbers."""
    holds: bool


STABILITY_SEEDS = 3
Runs = Mapping[str, Run]
"""By name, of one seed."""
RunsBySeed = Mapping[int, Runs]


def collapsed(run: Run) -> list[Check]:
    """The signature of pattern collapse (section 5.2): the reward alone looks fine."""
    start, end = run.start, run.end
    return [
        above("proxy", end["proxy"] / start["proxy"], 1.5, "x start"),
        below("gold", end["gold"] / start["gold"], 0.5, "x start"),
        above("truncated share", end["truncated_share"], 0.8),
        below("perplexity", end["perplexity"] / start["perplexity"], 0.6, "x start"),
    ]


def collapse(runs: Runs) -> list[Check]:
    vanilla, best = runs["vanilla"].end, runs["ppo-max"].end
    return [
        *collapsed(runs["vanilla"]),
        above("gold of PPO-max", best["gold"], 3 * vanilla["gold"], "against 3 x vanilla's"),
        below("KL of PPO-max", best["ref_kl"], 0.3 * vanilla["ref_kl"], "against 0.3 x vanilla's"),
    ]


def alarm(runs: Runs) -> list[Check]:
    vanilla, best = (_first(runs[name].curve, "alarm") for name in ("vanilla", "ppo-max"))
    return [
        Check(f"vanilla: fires at update {vanilla}", vanilla is not None),
        Check("PPO-max: silent" if best is None else f"PPO-max: fires at update {best}", best is None),
    ]


def kl_sweep(runs: Runs) -> list[Check]:
    ends = [runs[f"kl-{coef}"].end for coef in KL_SWEEP]
    return [_falling("proxy", ends, "proxy"), _falling("KL", ends, "ref_kl")]


def scaling(runs: Runs) -> list[Check]:
    return collapsed(runs["scaled"])


def score_clip(runs: Runs) -> list[Check]:
    names = ("sgd", *(f"sgd-score-clip-{limit}" for limit in reversed(CLIPS)))
    return [_falling("KL of raw score, clip 0.8, clip 0.3", [runs[name].end for name in names], "ref_kl")]


def advantage_clip(runs: Runs) -> list[Check]:
    names = ("sgd", *(f"sgd-advantage-clip-{limit}" for limit in reversed(ADVANTAGE_CLIPS)))
    return [_falling("KL of raw, clip 0.5, clip 0.12", [runs[name].end for name in names], "ref_kl")]


def critic(runs: Runs) -> list[Check]:
    plain, taught = runs["vanilla"].curve, runs["critic-pretrained"].curve
    first = next(at for at, numbers in enumerate(taught) if "policy_loss" in numbers)
    before, after = (_mean(part[:3], "advantage_abs_mean") for part in (plain, taught[first:]))
    variance = taught[first]["explained_variance"]
    cold = plain[0]["explained_variance"]
    return [
        below("mean abs advantage, first 3 policy updates", after, before / 5, "against a fifth of cold"),
        Check(f"explained variance at the first: {cold:.2f} cold, {variance:.2f} pre-trained", variance > 0),
        Check(
            f"it still collapses: gold {runs['critic-pretrained'].end['gold']:.2f}",
            runs["critic-pretrained"].end["gold"] < 0.5 * runs["vanilla"].start["gold"],
        ),
    ]


def ptx(runs: Runs) -> list[Check]:
    lost, kept = (
        runs[name].end["source_nll"] - runs[name].start["source_nll"]
        for name in ("normalised", "normalised-ptx")
    )
    return [below("rise of the source's NLL with ptx", kept, 0.2 * lost, "against a fifth of without")]


def ratio(runs: Runs) -> list[Check]:
    reference, vanilla = runs["ratio-reference"].end, runs["vanilla"].end
    return [
        below("KL against the reference", reference["ref_kl"], vanilla["ref_kl"], "of vanilla"),
        below("proxy", reference["proxy"], vanilla["proxy"], "of vanilla"),
    ]


def ratio_with_kl(runs: Runs) -> list[Check]:
    reference, both = runs["ratio-reference"].end, runs["ratio-reference-kl"].end
    return [
        below("KL against the reference", both["ref_kl"], reference["ref_kl"], "of without"),
        below("proxy", both["proxy"], reference["proxy"], "of without"),
    ]


def entropy(runs: Runs) -> list[Check]:
    names = ("vanilla", *(f"entropy-{coef}" for coef in ENTROPY_COEFS))
    best, strongest = runs["ppo-max"].end, runs[names[-1]].end
    return [
        _falling("KL of no, weak, strong hinge", [runs[name].end for name in names], "ref_kl"),
        below("gold of the strong hinge", strongest["gold"], best["gold"], "of PPO-max"),
    ]


def untaught(runs: Runs) -> list[Check]:
    run = runs["ppo-max-untaught"]
    return [
        below("gold after", run.end["gold"], run.start["gold"], "against the taught policy untrained"),
        above("perplexity after", run.end["perplexity"], run.start["perplexity"], "against the same"),
    ]


def missing_eos(runs: Runs) -> list[Check]:
    penalty, without = runs["ppo-max"].end, runs["ppo-max-no-eos-penalty"].end
    text = "against half of without"
    return [
        below("truncated share", penalty["truncated_share"], 0.5 * without["truncated_share"], text),
        above("gold", penalty["gold"], without["gold"], "against without"),
    ]


def gae(runs: Runs) -> list[Check]:
    low, middle, high = (runs[name] for name in ("gae-0", "vanilla", "gae-1"))
    spread = [_mean(run.curve, "advantage_abs_mean") for run in (low, middle, high)]
    numbers = ", ".join(f"{value:.2f}" for value in spread)
    return [
        below("proxy with lambda 0", low.end["proxy"], middle.end["proxy"], "against 0.95"),
        Check(f"mean abs advantage rises with lambda: {numbers}", spread == sorted(spread)),
    ]


def clip_range(runs: Runs) -> list[Check]:
    return _alike(runs, ("clip-0.5", "clip-none"))


def grad_clip(runs: Runs) -> list[Check]:
    return _alike(runs, ("grad-clip-0.5", "grad-clip-none"))


def epochs(runs: Runs) -> list[Check]:
    return [
        above("KL of four passes", runs["epochs-4"].end["ref_kl"], runs["vanilla"].end["ref_kl"], "of one")
    ]


def reward_model(runs: Runs) -> list[Check]:
    ends = [runs[f"flipped-{share}"].end for share in FLIPPED]
    return [_falling("accuracy", ends, "accuracy"), _falling("gold", ends, "gold")]


def reward_tail(runs: Runs) -> list[Check]:
    """In units of the taught policy's spread, which falls out of the ratio."""
    grown = {name: _tail(run.end) / _tail(run.start) for name, run in runs.items()}
    return [
        above("95th percentile above the median: vanilla", grown["vanilla-learned-proxy"], 2.0, "x start"),
        below("PPO-max", grown["flipped-0.0"], 2.0, "x start"),
    ]


def stability(runs: RunsBySeed) -> list[Check]:
    """Over the seeds."""
    if len(runs) < STABILITY_SEEDS:
        return [Check(f"a deviation over seeds needs {STABILITY_SEEDS} of them", False)]
    spread = {
        name: statistics.stdev(of_seed[name].end["gold"] for of_seed in runs.values())
        for name in ("vanilla", "ppo-max", "groups-off", "groups-learned")
    }
    text = "deviation of the final gold over the seeds: "
    return [
        below(f"{text}PPO-max", spread["ppo-max"], spread["vanilla"], "of vanilla"),
        below(f"{text}learned groups", spread["groups-learned"], spread["groups-off"], "of PPO-max"),
    ]


def _tail(numbers: Numbers) -> float:
    return numbers["reward_p95"] - numbers["reward_p50"]


def above(name: str, value: float, limit: float, unit: str = "") -> Check:
    """The value is at least the limit."""
    return Check(f"{name} {value:.2f} >= {limit:.2f} {unit}".rstrip(), value >= limit)


def below(name: str, value: float, limit: float, unit: str = "") -> Check:
    """The value is at most the limit."""
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
