"""Evaluation page: the report as Markdown tables, for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainer.alignment_tax import Change
from trainer.evaluation_report import EvaluationReport, Score, score_of, win_rate_of
from trainer.meetings import Standing
from trainer.pair_report import Share
from trainer.win_rates import WinRate


def markdown(report: EvaluationReport) -> str:
    """The page."""
    draw = "greedy" if report.greedy else f"temperature {report.rollout['temperature']:g}"
    left_out = f", {report.left_out_prompts} left out as too long" if report.left_out_prompts else ""
    parts = [
        "# Evaluation",
        f"Judge: {report.judge}. {report.prompts} prompts{left_out}; one answer a prompt, {draw}, at most"
        f" {report.rollout['max_new_tokens']} tokens. Intervals are 95 %.",
        *_duels(report),
        *_standings(report),
        *_tax(report),
        *_judge(report),
    ]
    return "\n\n".join(parts) + "\n"


def _duels(report: EvaluationReport) -> Iterator[str]:
    if not report.duels:
        return
    yield "## Win, tie, lose"
    yield (
        "A verdict counts when it is the same in both orders of the answers, else it is a tie."
        " Win rate = (wins + ties / 2) / duels, with a bootstrap over the prompts."
    )
    yield _table(
        ("policy", "against", "domain", "win", "tie", "lose", "win rate", "duels", "unreadable"),
        (
            (one.policy, one.against, domain, *_win_tie_lose(rate), _rate(rate), rate.n, rate.unreadable)
            for one in report.duels
            for domain, rate in one.by_domain.items()
        ),
    )
    names = [policy.name for policy in report.policies]
    if len(names) < 3:
        return
    for against in names:
        others = [name for name in names if name != against]
        yield f"Against {against}, win / tie / lose in %:"
        yield _table(
            ("domain", *others),
            (
                (domain, *(" / ".join(_cell(report, other, against, domain)) for other in others))
                for domain in report.duels[0].by_domain
            ),
        )


def _cell(report: EvaluationReport, policy: str, against: str, domain: str) -> tuple[str, str, str]:
    """Win, tie and lose of `policy`, whichever of the two the duels name first."""
    for one in report.duels:
        if (one.policy, one.against) == (policy, against):
            return _win_tie_lose(one.by_domain[domain])
        if (one.policy, one.against) == (against, policy):
            win, tie, lose = _win_tie_lose(one.by_domain[domain])
            return lose, tie, win
    raise KeyError((policy, against))


def _standings(report: EvaluationReport) -> Iterator[str]:
    """The judge beside the reward model: where they part, the reward was won without the quality."""
    yield "## Judge beside reward"
    scored = all(policy.answers.score for policy in report.policies)
    domain_names = list(report.policies[0].answers.score or {}) if scored else []
    yield _table(
        (
            "policy",
            "win rate over all others",
            *(f"score, {name}" for name in domain_names),
            "characters",
            "ended",
        ),
        (
            (
                policy.name,
                "none" if policy.standing is None else _percent_of(policy.standing.rate, policy.standing),
                *(_number((policy.answers.score or {})[name]) for name in domain_names),
                f"{policy.answers.characters:.0f}",
                _percent(policy.answers.ended_share),
            )
            for policy in report.policies
        ),
    )
    judged, scored_best = report.best(win_rate_of), report.best(score_of)
    if not report.independent:
        yield (
            "The judge is the reward model itself. Whether its score is won at the cost of quality, only"
            " another judge can tell."
        )
    elif len(report.policies) > 1 and judged and scored_best:
        if judged == scored_best:
            yield f"Judge and reward model both put {judged} first."
        else:
            yield (
                f"**The judge puts {judged} first, the reward model {scored_best}.** The best policy is the"
                " judge's; a policy that only the reward model likes has found its weak spot."
            )


def _tax(report: EvaluationReport) -> Iterator[str]:
    read = [(policy.name, policy.language, policy.knowledge) for policy in report.policies]
    found = [(name, said, known) for name, said, known in read if said and known]
    if not found:
        return
    questions, subjects = found[0][2].accuracy.n, list(found[0][2].by_subject)
    yield "## Alignment tax"
    yield (
        f"Changes are from {found[0][0]}, over the same paragraphs and questions. NLL is nats per token of"
        f" plain text; accuracy is of {questions} questions with four choices, of which chance gets 25 %."
    )
    yield _table(
        ("policy", "NLL", "change", "perplexity", "accuracy", "change"),
        (
            (
                name, f"{said.nll:.3f}", _change(said.change, 1, 3), f"{said.perplexity:.1f}",
                _share(known.accuracy), _change(known.change, 100, 1),
            )
            for name, said, known in found
        ),
    )  # fmt: skip
    yield _table(
        ("accuracy", *subjects),
        ((name, *(_share(known.by_subject[subject]) for subject in subjects)) for name, _, known in found),
    )


def _judge(report: EvaluationReport) -> Iterator[str]:
    yield "## Can the judge be trusted?"
    own = [(policy.name, policy.itself) for policy in report.policies if policy.itself]
    if own:
        yield "A policy against its own second draw: 50 % must lie inside the interval."
        yield _table(
            ("policy", "domain", "win", "tie", "lose", "win rate"),
            (
                (name, domain, *_win_tie_lose(rate), _rate(rate))
                for name, rates in own
                for domain, rate in rates.items()
            ),
        )
    yield (
        "Over all duels with two different answers: verdicts that changed with the order; verdicts for the"
        " answer shown first (50 % is fair); decided duels won by the longer answer; replies without a"
        " verdict."
    )
    yield _table(
        ("domain", "duels", "inconsistent", "first place", "longer wins", "unreadable"),
        (
            (
                domain, bias.duels, _share(bias.inconsistent), _share(bias.first_place), _share(bias.longer),
                f"{bias.unreadable} of {2 * bias.duels}",
            )
            for domain, bias in report.bias.items()
        ),
    )  # fmt: skip
    if report.human:
        yield (
            f"Agreement with people on {report.human.pairs} pairs: where both decided (chance is 50 %), and"
            " over all with ties as a third verdict."
        )
        yield _table(
            ("domain", "both decided", "all", "unreadable"),
            (
                (domain, _share(found.decided), _share(found.all), found.unreadable)
                for domain, found in report.human.by_domain.items()
            ),
        )


def _table(header: Sequence[str], rows: Iterator[tuple[object, ...]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', '/') for cell in line)} |" for line in lines)


def _win_tie_lose(rate: WinRate) -> tuple[str, str, str]:
    win, tie, lose = (rate.share(outcome) for outcome in ("win", "tie", "loss"))
    return _percent(win), _percent(tie), _percent(lose)


def _rate(rate: WinRate) -> str:
    return "none" if rate.rate is None else _percent_of(rate.rate, rate)


def _share(found: Share | None) -> str:
    return "none" if found is None else f"{_percent_of(found.share, found)}, n = {found.n}"


def _percent_of(value: float, interval: WinRate | Standing | Share) -> str:
    return f"{_percent(value)} ({_percent(interval.low)} to {_percent(interval.high)})"


def _number(score: Score) -> str:
    return f"{score.mean:.2f} ({score.low:.2f} to {score.high:.2f})"


def _change(change: Change | None, factor: float, digits: int) -> str:
    if change is None:
        return "-"
    low, mean, high = (f"{factor * value:+.{digits}f}" for value in (change.low, change.mean, change.high))
    return f"{mean} ({low} to {high})"


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{100 * value:.1f}"
