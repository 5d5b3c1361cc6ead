"""Evaluation: policies answer the same prompts, a judge compares them, and the judge is put to the test.

Section 5 of arXiv 2307.04964: win, tie and loss for each domain, and what the training cost in skill.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean

from store.records import ChatTurn, PreferencePair
from trainer.alignment_tax import CHOICES, knowledge, language, read_choices
from trainer.chat_judge import KEY_VARIABLE, ChatJudge, JudgeError
from trainer.config import RewardConfig, RolloutConfig
from trainer.contenders import Contender, Question, draw, fitting, read_answers, written_answers
from trainer.data import Prompt
from trainer.errors import DataError
from trainer.evaluation_page import markdown
from trainer.evaluation_report import EvaluationReport, PolicyReport, answer_figures
from trainer.folders import written_aside
from trainer.judging import Case, Judge
from trainer.meetings import Meeting, ask_about_people, bias, duels, meet, standing
from trainer.reporting import Reporter
from trainer.score_judge import ScoreJudge
from trainer.seeds import DrawnAnswer

TRIAL = Case(
    (ChatTurn(role="user", content="What is two plus two?"),),
    DrawnAnswer("Two plus two is four.", ended=True),
    DrawnAnswer("Bananas are yellow.", ended=True),
)


def evaluate(
    *,
    policies: Sequence[tuple[str, Path]],
    answers: Sequence[tuple[str, Path]],
    questions: Sequence[Question],
    judge: Judge,
    reward_model: ScoreJudge | None,
    human: Sequence[PreferencePair],
    out: Path,
    rollout: RolloutConfig,
    reporter: Reporter,
    greedy: bool = False,
    seed: int = 0,
    choices: Path = CHOICES,
) -> EvaluationReport:
    """Lets every policy meet every other one; writes report.json, report.md, all answers and all verdicts.

    Args:
        policies: names and folders; the first is the baseline that changes of skill are measured from.
        answers: names and files with the answers of a model that is no folder here.
        reward_model: what the policies were trained on; its mean score stands beside the judge's verdict.
        human: pairs that people judged; the judge's agreement with them is measured.
        out: new folder.

    Raises:
        DataError: no prompt fits, a file of answers lacks some, or two contenders have one name.
        JudgeError: the judge cannot be asked.
    """
    for name, times in Counter(name for name, _ in [*policies, *answers]).items():
        if times > 1:
            raise DataError(f"--policy and --answers name {name} {times} times. Give each its own name.")
    known = read_choices(choices)
    kept = fitting([folder for _, folder in policies], questions, rollout.max_prompt_tokens)
    left_out = len(questions) - len(kept)
    if left_out:
        reporter.log(f"{left_out} prompts do not fit into rollout.max_prompt_tokens: left out")
    written = [Contender(name, read_answers(path, kept)) for name, path in answers]

    _try(judge, reporter)
    people = ask_about_people(human, judge, reporter.check_cancelled)
    contenders = []
    for contender in draw(policies, kept, known, rollout, greedy=greedy, seed=seed):
        contenders.append(contender)
        ended = fmean(answer.ended for answer in contender.answers)
        reporter.metric(len(contenders), len(policies), {"ended_share": ended})
    contenders += written

    prompts = [question.prompt for question in kept]
    tags = [question.domains for question in kept]
    meetings, itself = [], {}
    for earlier, later in combinations(contenders, 2):
        sides = (later.name, later.answers), (earlier.name, earlier.answers)
        meetings.append(meet(prompts, *sides, judge, reporter.check_cancelled))
        reporter.log(f"{later.name} against {earlier.name} is judged")
    for one in contenders:
        if one.again is not None:
            sides = (one.name, one.answers), (one.name, one.again)
            itself[one.name] = meet(prompts, *sides, judge, reporter.check_cancelled)

    baseline = contenders[0].reading
    report = EvaluationReport(
        judge=judge.name,
        independent=judge is not reward_model,
        prompts=len(kept),
        left_out_prompts=left_out,
        greedy=greedy,
        rollout=rollout.model_dump(mode="json"),
        seed=seed,
        duels=[duels(meeting, tags, seed) for meeting in meetings],
        bias=bias([*meetings, *itself.values()], tags),
        human=people,
        policies=[
            PolicyReport(
                name=one.name,
                standing=standing(one.name, meetings, seed),
                itself=duels(itself[one.name], tags, seed).by_domain if one.name in itself else None,
                answers=answer_figures(one.answers, _scores(one, prompts, reward_model), tags),
                language=language(one.reading, baseline) if one.reading else None,
                knowledge=knowledge(one.reading, baseline, known) if one.reading else None,
            )
            for one in contenders
        ],
    )
    _write(out, report, contenders, kept, [*meetings, *itself.values()])
    return report


def open_judge(
    where: str, model: str | None, reward_model: Path | None, config: RewardConfig, tie_margin: float
) -> tuple[Judge, ScoreJudge | None]:
    """The judge, and the reward model whose scores are shown: the one given, else the judge if it is one.

    Args:
        where: a URL or a reward model's folder.
        model: the name of a chat model behind the URL.

    Raises:
        JudgeError: a URL without a model.
        ModelError: a folder that holds no reward model.
    """
    shown = ScoreJudge(reward_model, config, tie_margin=tie_margin) if reward_model else None
    if "://" not in where:
        judge = ScoreJudge(Path(where), config, tie_margin=tie_margin)
        return judge, shown or judge
    if not model:
        raise JudgeError(f"--judge {where} needs --judge-model, the name of the model there.")
    return ChatJudge(where, model, key=os.environ.get(KEY_VARIABLE)), shown


def _try(judge: Judge, reporter: Reporter) -> None:
    """One duel before the long part, so that a judge who cannot be asked is noticed at once."""
    if judge.verdicts([TRIAL]) == [None]:
        reporter.log(f"{judge.name}: the reply to a trial question has no verdict on its last line")


def _scores(
    contender: Contender, prompts: Sequence[Prompt], reward_model: ScoreJudge | None
) -> list[float] | None:
    if reward_model is None:
        return None
    return reward_model.scores(list(zip(prompts, contender.answers, strict=True)))


def _write(
    out: Path,
    report: EvaluationReport,
    contenders: Sequence[Contender],
    questions: Sequence[Question],
    meetings: Sequence[Meeting],
) -> None:
    """The folder: the report twice, every answer (`--answers` reads them again) and every verdict."""
    with written_aside(out) as folder:
        (folder / "report.json").write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (folder / "report.md").write_text(markdown(report), encoding="utf-8")
        (folder / "answers").mkdir()
        for one in contenders:
            lines = written_answers(questions, one.answers)
            (folder / "answers" / f"{one.name}.jsonl").write_text(lines, encoding="utf-8")
        with (folder / "verdicts.jsonl").open("w", encoding="utf-8") as file:
            for meeting in meetings:
                for question, line in zip(questions, meeting.lines(), strict=True):
                    file.write(json.dumps({"tags": question.domains, **line}, ensure_ascii=False) + "\n")
