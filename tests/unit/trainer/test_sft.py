"""SFT: dialogues are learned by heart, held-out NLL falls, what judges never trains, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from trainer.alignment_tax import SKILL_TEXT
from trainer.config import SFTConfig
from trainer.data import load_tokenizer
from trainer.dialogues import read_dialogues
from trainer.errors import DataError, DivergedError, ModelError
from trainer.models import load_policy, save_policy
from trainer.ptx import read_text_lines
from trainer.reporting import Reporter
from trainer.sft import SFTReport, held_out_nll, train_sft

WORDS = ("sun", "sea", "tea", "oak", "fox", "jam", "ice", "owl", "bee", "cat")
LESSONS = [(f"{one} {other}", f"{other} {one}") for one in WORDS[:5] for other in WORDS]  # 50 of them
BY_HEART = SFTConfig(lr=0.01, batch_texts=25, epochs=30)


def written(path: Path, lessons: list[tuple[str, str]]) -> Path:
    lines = [
        {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]}
        for asked, said in lessons
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def sft(policy: Path, texts: Path, out: Path, config: SFTConfig, held_out: Path | None = None) -> SFTReport:
    return train_sft(
        policy=policy, texts=texts, held_out=held_out, out=out, config=config, reporter=Reporter()
    )


def nll(policy: Path, texts: Path) -> float:
    return held_out_nll(load_policy(policy), read_dialogues(texts, load_tokenizer(policy), 100), 2048)


def test_fifty_dialogues_are_learned_by_heart_and_the_folder_is_a_policy(
    tiny_policy: Path, tmp_path: Path
) -> None:
    texts = written(tmp_path / "texts.jsonl", LESSONS)
    other = written(tmp_path / "other.jsonl", [("ham egg", "egg ham")])

    report = sft(tiny_policy, texts, tmp_path / "out", BY_HEART, other)

    # 7 letters and an end token each; 30 epochs of two steps.
    assert (report.texts, report.tokens, report.held_out_tokens, report.steps) == (50, 400, 8, 60)
    assert nll(tiny_policy, texts) > 5
    assert report.train_nll < 0.05
    assert nll(tmp_path / "out", texts) < 0.05
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report.model_dump(mode="json")


def test_nll_is_the_mean_over_learned_tokens_as_cross_entropy_finds_it(
    tiny_policy: Path, tmp_path: Path
) -> None:
    texts = written(tmp_path / "texts.jsonl", LESSONS[:3])
    tokenizer, model = load_tokenizer(tiny_policy), load_policy(tiny_policy)
    losses = []
    for (line,) in read_text_lines(texts, tokenizer, 100):
        ids = torch.tensor([line.prompt_ids + line.response_ids])
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(ids).logits[0, :-1].float()
        answer = slice(len(line.prompt_ids) - 1, None)
        losses.append(torch.nn.functional.cross_entropy(logits[answer], ids[0, 1:][answer], reduction="none"))
    assert nll(tiny_policy, texts) == pytest.approx(float(torch.cat(losses).mean()), abs=0.01)
    # One step on all of them reports the same: it is measured before the step.
    other = written(tmp_path / "other.jsonl", LESSONS[3:4])
    report = sft(tiny_policy, texts, tmp_path / "out", SFTConfig(epochs=1), other)
    assert report.train_nll == pytest.approx(nll(tiny_policy, texts), rel=1e-3)


def test_on_real_texts_the_held_out_nll_falls_and_perplexity_is_its_exponential(
    tiny_policy: Path, tmp_path: Path
) -> None:
    paragraphs = SKILL_TEXT.read_text(encoding="utf-8").split(". ")
    texts = written(tmp_path / "texts.jsonl", [("Go on.", said) for said in paragraphs])

    report = sft(tiny_policy, texts, tmp_path / "out", SFTConfig(lr=3e-3, batch_texts=4, epochs=4))

    assert report.held_out_texts == max(1, round(0.1 * len(paragraphs)))
    assert report.texts + report.held_out_texts == len(paragraphs)
    assert report.held_out_nll < 0.8 * report.held_out_nll_before
    assert report.held_out_perplexity == pytest.approx(math.exp(report.held_out_nll))
    assert report.held_out_perplexity_before == pytest.approx(math.exp(report.held_out_nll_before))


def test_a_text_that_judges_never_trains_and_one_too_long_is_counted(
    tiny_policy: Path, tmp_path: Path
) -> None:
    texts = written(tmp_path / "texts.jsonl", [*LESSONS[:6], *LESSONS[:2], ("Long?", "very " * 40)])
    config = SFTConfig(max_tokens=100, held_out_share=0.5)

    shared = sft(tiny_policy, texts, tmp_path / "share", config)
    apart = sft(
        tiny_policy, texts, tmp_path / "file", config, written(tmp_path / "judge.jsonl", LESSONS[1:3])
    )

    # Six different texts, two of them twice: three judge, and no copy of theirs is left to train.
    assert shared.held_out_texts == 3
    assert 3 <= shared.texts <= 5
    assert (apart.texts, apart.held_out_texts) == (5, 2)  # of eight, 1 twice and 2 judge
    assert shared.left_out_texts == apart.left_out_texts == 1


def test_the_same_seed_gives_the_same_numbers(tiny_policy: Path, tmp_path: Path) -> None:
    texts = written(tmp_path / "texts.jsonl", LESSONS[:10])
    one, same, other = (
        sft(tiny_policy, texts, tmp_path / str(number), SFTConfig(seed=seed, batch_texts=2))
        for number, seed in enumerate((1, 1, 2))
    )
    assert one.held_out_nll == same.held_out_nll
    assert one.held_out_nll_before != other.held_out_nll_before  # another text judges


def test_a_step_is_the_same_however_it_is_cut_into_passes(tiny_policy: Path, tmp_path: Path) -> None:
    texts = written(tmp_path / "texts.jsonl", LESSONS[:10])
    whole, cut = (
        sft(tiny_policy, texts, tmp_path / str(tokens), SFTConfig(lr=1e-3, micro_batch_tokens=tokens))
        for tokens in (2048, 64)
    )
    assert whole.train_nll == pytest.approx(cut.train_nll, rel=1e-3)
    assert whole.held_out_nll == pytest.approx(cut.held_out_nll, rel=1e-3)


def test_what_cannot_be_learned_is_refused(tiny_policy: Path, tmp_path: Path) -> None:
    one = written(tmp_path / "one.jsonl", [LESSONS[0], LESSONS[0]])
    empty = written(tmp_path / "empty.jsonl", [])
    with pytest.raises(DataError, match="holds no text"):
        sft(tiny_policy, empty, tmp_path / "out", BY_HEART)
    with pytest.raises(DataError, match=r"one\.jsonl leaves no text to learn from"):
        sft(tiny_policy, one, tmp_path / "out", BY_HEART)
    with pytest.raises(DataError, match="leaves no text to learn from"):
        sft(tiny_policy, one, tmp_path / "out", BY_HEART, one)
    with pytest.raises(ModelError, match="exists already"):
        sft(tiny_policy, one, tmp_path, BY_HEART)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.jsonl", "one.jsonl"]


def test_numbers_that_are_none_are_refused(tiny_policy: Path, tmp_path: Path) -> None:
    texts = written(tmp_path / "texts.jsonl", LESSONS[:4])
    with pytest.raises(DivergedError, match=r"step \d: .*Lower sft\.lr"):
        sft(tiny_policy, texts, tmp_path / "out", SFTConfig(lr=1e30, epochs=4))
    assert not (tmp_path / "out").exists()

    broken = load_policy(tiny_policy)
    weight = broken.get_parameter("model.norm.weight")
    with torch.no_grad():
        weight.fill_(3e38)  # finite, as a file may hold it, but no logit is
    save_policy(broken, tiny_policy, tmp_path / "broken")
    with pytest.raises(DivergedError, match="look at --policy"):
        sft(tmp_path / "broken", texts, tmp_path / "out", BY_HEART)
