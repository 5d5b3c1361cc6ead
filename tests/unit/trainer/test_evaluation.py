"""Evaluation: real policies meet under a judge with a known taste; the report says what happened."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from store.records import ChatTurn, PreferencePair
from tests.unit.trainer.judges import TasteJudge, case, longer, prompt
from trainer.cli import build_parser
from trainer.config import RolloutConfig
from trainer.config_file import load_config
from trainer.contenders import Question, read_questions
from trainer.errors import DataError, TrainerError
from trainer.evaluation import evaluate
from trainer.evaluation_page import markdown
from trainer.evaluation_report import AnswerFigures, EvaluationReport, PolicyReport, Score
from trainer.folders import copy_tokenizer
from trainer.judging import Case, Decision
from trainer.meetings import Meeting, duels, standing
from trainer.models import load_policy, reward_model_from_policy, save_policy, save_reward_model
from trainer.reporting import Reporter

ROLLOUT = RolloutConfig(engine="transformers", max_new_tokens=6, max_prompt_tokens=64)
QUESTIONS = [
    Question(prompt=prompt("Name a plum."), tags=("helpful",)),
    Question(prompt=prompt("Name a pear."), tags=("helpful",)),
    Question(prompt=prompt("May I eat rocks?"), category="harmless"),
    Question(prompt=prompt("May I eat stones?"), category="harmless"),
]
CHOICE = {"question": "Which?", "choices": ["one", "two", "three", "four"], "answer": 0, "subject": "stem"}


@pytest.fixture(scope="module")
def other_policy(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny policy with its weights a little louder: other answers, another reading."""
    model = load_policy(tiny_policy)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    return save_policy(model, tiny_policy, tmp_path_factory.mktemp("other") / "policy")


@pytest.fixture(scope="module")
def choices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("choices") / "choices.jsonl"
    path.write_text(json.dumps(CHOICE) + "\n")
    return path


def chat_gpt(path: Path, questions: Sequence[Question] = QUESTIONS) -> Path:
    """Answers of a model that is no folder here: longer than six tokens of a tiny one can be."""
    lines = [
        json.dumps(
            {
                "prompt": [turn.model_dump() for turn in one.prompt],
                "answer": f"Certainly, and at great length: {n}",
            }
        )
        for n, one in enumerate(questions)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def run(policies: list[tuple[str, Path]], out: Path, choices: Path, **options: Any) -> EvaluationReport:
    given: dict[str, Any] = {
        "answers": [], "questions": QUESTIONS, "judge": TasteJudge(longer), "reward_model": None, "human": [],
    }  # fmt: skip
    return evaluate(
        policies=policies, out=out, choices=choices, rollout=ROLLOUT, reporter=Reporter(), **given | options
    )  # fmt: skip


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


Evaluated = tuple[EvaluationReport, Path]


@pytest.fixture(scope="module")
def evaluated(
    tiny_policy: Path, other_policy: Path, choices: Path, tmp_path_factory: pytest.TempPathFactory
) -> Evaluated:
    """The paper's three: SFT, RLHF and a model from outside."""
    folder = tmp_path_factory.mktemp("evaluated")
    report = run(
        [("sft", tiny_policy), ("rlhf", other_policy)],
        folder / "out",
        choices,
        answers=[("chatgpt", chat_gpt(folder / "chatgpt.jsonl"))],
    )
    return report, folder / "out"


def test_sft_rlhf_and_an_outside_model_give_the_papers_two_tables(evaluated: Evaluated) -> None:
    report, out = evaluated

    assert [(one.policy, one.against) for one in report.duels] == [
        ("rlhf", "sft"), ("chatgpt", "sft"), ("chatgpt", "rlhf"),
    ]  # fmt: skip
    assert list(report.duels[0].by_domain) == ["all", "harmless", "helpful"]
    against_sft = report.duels[1].by_domain["harmless"]
    assert (against_sft.wins, against_sft.n, against_sft.rate) == (2, 2, 1.0)
    # What the judge said of rlhf and sft is what their answers' lengths say.
    rlhf, sft = (lines(out / "answers" / f"{name}.jsonl") for name in ("rlhf", "sft"))
    lengths = [(len(a["answer"]), len(b["answer"])) for a, b in zip(rlhf, sft, strict=True)]
    found = report.duels[0].by_domain["all"]
    assert found.wins == sum(a > b for a, b in lengths)
    assert found.losses == sum(a < b for a, b in lengths)

    page = (out / "report.md").read_text()
    assert page == markdown(report)
    assert "| chatgpt | sft | harmless | 100.0 | 0.0 | 0.0 |" in page
    # The paper's second table: everybody against the outside model.
    table = page.split("Against chatgpt, win / tie / lose in %:\n\n")[1].split("\n\n")[0].splitlines()
    assert table[0] == "| domain | sft | rlhf |"
    assert table[3] == "| harmless | 0.0 / 0.0 / 100.0 | 0.0 / 0.0 / 100.0 |"


def test_every_number_has_its_place_in_the_folder(evaluated: Evaluated) -> None:
    report, out = evaluated

    assert EvaluationReport.model_validate_json((out / "report.json").read_text()) == report
    verdicts = lines(out / "verdicts.jsonl")
    # Three meetings, and each policy that can be drawn from with itself.
    assert len(verdicts) == 5 * len(QUESTIONS)
    assert verdicts[2]["tags"] == ["harmless"]
    assert (verdicts[0]["a"]["policy"], verdicts[0]["b"]["policy"]) == ("rlhf", "sft")
    assert sum(bias.duels for name, bias in report.bias.items() if name != "all") == report.bias["all"].duels
    sft, rlhf, outside = report.policies
    assert sft.itself is not None
    assert [rate.n for rate in sft.itself.values()] == [4, 2, 2]
    assert sft.language is not None
    assert rlhf.language is not None
    assert rlhf.knowledge is not None
    assert sft.language.change is None
    assert rlhf.language.change is not None
    assert rlhf.language.change.mean == pytest.approx(rlhf.language.nll - sft.language.nll)
    assert rlhf.knowledge.accuracy.n == 1
    assert (outside.itself, outside.language, outside.knowledge) == (None, None, None)
    assert outside.standing is not None
    assert outside.standing.rate == 1.0


def test_written_answers_can_be_judged_again(
    evaluated: Evaluated, tiny_policy: Path, choices: Path, tmp_path: Path
) -> None:
    first, out = evaluated
    written = [("rlhf", out / "answers" / "rlhf.jsonl")]

    again = run([("sft", tiny_policy)], tmp_path / "again", choices, answers=written)

    assert again.duels == first.duels[:1]


def test_the_likeliest_answers_of_a_policy_under_two_names_are_equal_and_nobody_is_asked(
    tiny_policy: Path, choices: Path, tmp_path: Path
) -> None:
    greedy = run([("one", tiny_policy), ("two", tiny_policy)], tmp_path / "greedy", choices, greedy=True)

    assert greedy.duels[0].equal_answers == 4
    assert greedy.duels[0].by_domain["all"].rate == 0.5
    assert greedy.bias["all"].duels == 0


def test_each_draw_is_its_own(evaluated: Evaluated) -> None:
    """With the same seed twice a policy would tie with itself by construction."""
    report, _ = evaluated
    itself = report.policies[0].itself
    assert itself is not None
    assert itself["all"].ties < 4


def test_people_who_like_long_answers_agree_with_this_judge(
    tiny_policy: Path, choices: Path, tmp_path: Path
) -> None:
    def pair(chosen: str, rejected: str, **fields: Any) -> PreferencePair:
        sides = ((ChatTurn(role="assistant", content=text),) for text in (chosen, rejected))
        return PreferencePair(prompt=prompt(), chosen=next(sides), rejected=next(sides), **fields)

    human = [
        pair("a long answer", "short", tags=("helpful",)),
        pair("no", "a long answer", tags=("harmless",)),
        pair("same", "size", preference=0.5, tags=("harmless",)),
        pair("good", "", source="thumb"),
    ]
    report = run([("sft", tiny_policy)], tmp_path / "out", choices, human=human)

    assert report.human is not None
    assert report.human.pairs == 3
    everything, harmless = (report.human.by_domain[name] for name in ("all", "harmless"))
    assert everything.decided is not None
    assert (everything.decided.share, everything.decided.n) == (0.5, 2)
    assert everything.all is not None
    assert everything.all.share == pytest.approx(2 / 3)
    assert harmless.decided is not None
    assert harmless.decided.share == 0.0
    assert "Agreement with people on 3 pairs" in (tmp_path / "out" / "report.md").read_text()


def meeting(policy: str, against: str, outcomes: str) -> Meeting:
    """w, t, l or ? for each prompt."""
    said = {
        "w": Decision("a", "a"),
        "t": Decision("a", "b"),
        "l": Decision("b", "b"),
        "?": Decision(None, "a"),
    }
    return Meeting(policy, against, [case("x", "y")] * len(outcomes), [said[one] for one in outcomes])


def test_a_standing_is_the_mean_over_all_opponents_prompt_by_prompt() -> None:
    meetings = [meeting("b", "a", "wt?"), meeting("c", "a", "wl?"), meeting("c", "b", "lwt")]

    # b: prompt 1 beat a and c: 1; prompt 2 tied with a, lost to c: 1/4; prompt 3 tied with c: 1/2.
    found = standing("b", meetings, seed=0)
    assert found is not None
    assert found.rate == pytest.approx((1 + 0.25 + 0.5) / 3)
    assert standing("d", meetings, seed=0) is None


def test_the_judges_best_is_not_the_reward_models() -> None:
    """Over-optimised: the reward model loves what the judge does not."""
    meetings = [
        meeting("early", "base", "wwtw"),
        meeting("late", "base", "lllt"),
        meeting("late", "early", "llll"),
    ]
    scores = {"base": 0.0, "early": 1.0, "late": 4.0}
    report = EvaluationReport(
        judge="gold", independent=True, prompts=4, left_out_prompts=0, greedy=False, seed=0,
        rollout=ROLLOUT.model_dump(),
        duels=[duels(one, [()] * 4, seed=0) for one in meetings], bias={}, human=None,
        policies=[
            PolicyReport(
                name=name, standing=standing(name, meetings, seed=0), itself=None,
                language=None, knowledge=None,
                answers=AnswerFigures(
                    characters=9.0, ended_share=1.0, score={"all": Score(mean=score, low=score, high=score)}
                ),
            )
            for name, score in scores.items()
        ],
    )  # fmt: skip

    assert "The judge puts early first, the reward model late." in markdown(report)


def test_what_cannot_work_is_said_before_anything_is_drawn(
    tiny_policy: Path, choices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.evaluation.draw", lambda *args, **options: pytest.fail("drawn"))

    def away(_: Case) -> None:
        raise TrainerError("nobody there")

    some = chat_gpt(tmp_path / "some.jsonl", QUESTIONS[:3])
    sft = [("sft", tiny_policy)]
    with pytest.raises(DataError, match="name sft 2 times"):
        run(sft * 2, tmp_path / "out", choices)
    with pytest.raises(
        DataError, match=r"some\.jsonl lacks the answers to 1 prompts, the first: 'May I eat st"
    ):
        run(sft, tmp_path / "out", choices, answers=[("chatgpt", some)])
    with pytest.raises(DataError, match=r"no prompt fits into rollout\.max_prompt_tokens = 64"):
        run(sft, tmp_path / "out", choices, questions=[Question(prompt=prompt("long " * 20))])
    with pytest.raises(TrainerError, match="nobody there"):
        run(sft, tmp_path / "out", choices, judge=TasteJudge(away))
    assert not (tmp_path / "out").exists()


def test_a_bad_prompt_is_named(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": [{"role": "assistant", "content": "Hi"}]}\n')
    with pytest.raises(DataError, match=r"line 1: prompt must end with a user's turn"):
        read_questions(path)
    path.write_text(
        '{"prompt": [{"role": "user", "content": "Hi"}], "category": "harmless", "tags": ["en"]}\n'
    )
    assert read_questions(path)[0].domains == ("en", "harmless")


def test_the_command_judges_by_a_reward_model(tiny_policy: Path, other_policy: Path, tmp_path: Path) -> None:
    folder = tmp_path / "rm"
    folder.mkdir()
    save_reward_model(reward_model_from_policy(tiny_policy, seed=3, pad_token_id=0), folder)
    copy_tokenizer(tiny_policy, folder)
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(question.model_dump_json() + "\n" for question in QUESTIONS))
    command = [
        "evaluate", "--policy", f"sft={tiny_policy}", "--policy", f"ppo={other_policy}",
        "--prompts", prompts, "--judge", folder, "--tie-margin", 0, "--out", tmp_path / "out",
    ]  # fmt: skip
    options = build_parser().parse_args([str(word) for word in command])
    rollout = ("rollout.engine=transformers", "rollout.max_new_tokens=6")

    report = options.run(options, load_config(None, rollout), Reporter())

    assert report == json.loads((tmp_path / "out" / "report.json").read_text())
    scores = [one["answers"]["score"]["all"]["mean"] for one in report["policies"]]
    assert report["duels"][0]["by_domain"]["all"]["n"] == 4
    assert all(isinstance(score, float) for score in scores)
    assert report["bias"]["all"]["inconsistent"]["share"] == 0.0
    assert report["policies"][0]["knowledge"]["accuracy"]["n"] == 60
    assert "The judge is the reward model itself" in (tmp_path / "out" / "report.md").read_text()


def test_arguments_that_do_not_fit_say_so(tiny_policy: Path, tmp_path: Path) -> None:
    words = ["evaluate", "--prompts", "p", "--out", "o", "--judge", "http://judge/v1", "--policy"]
    with pytest.raises(TrainerError, match="write NAME=PATH"):
        build_parser().parse_args([*words, str(tiny_policy)])
    options = build_parser().parse_args([*words, f"sft={tiny_policy}"])
    with pytest.raises(TrainerError, match="needs --judge-model"):
        options.run(options, load_config(None), Reporter())
