"""Pairs: files of preference pairs, rankings and thumbs, checked, and as token ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from transformers import PreTrainedTokenizerBase

from store.records import ChatTurn, PreferencePair, Record
from trainer.data import Prompt, problems, prompt_ids, read_lines, response_ids
from trainer.errors import DataError

TIE = 0.5


@dataclass(frozen=True)
class TokenPair:
    """One pair as token ids: both sequences start with the same prompt.

    Of a thumb one side is empty: it stands for the threshold between good and bad answers.
    """

    chosen: list[int]
    rejected: list[int]
    prompt_length: int
    weight: float
    source: str
    new: bool
    preference: float = 1.0
    margin: float = 0.0
    tags: tuple[str, ...] = ()
    ranking_id: str | None = None
    vote_id: str | None = None

    @property
    def prompt(self) -> list[int]:
        return (self.chosen or self.rejected)[: self.prompt_length]

    @property
    def decided(self) -> bool:
        """Two answers of which one is better: what accuracy can be measured on."""
        return bool(self.chosen and self.rejected) and self.preference > TIE


class Ranking(Record):
    """One prompt and n >= 2 answers with their ranks: 1 is the best, equal ranks are ties."""

    prompt: Prompt
    answers: tuple[tuple[ChatTurn, ...], ...]
    ranks: tuple[int, ...]
    ended: tuple[bool, ...] | None = None
    """False where an answer was cut at the length limit; None: all ended."""
    tags: tuple[str, ...] = ()
    conversation_id: str | None = None

    def pairs(self, ranking_id: str) -> Iterator[PreferencePair]:
        """All n (n - 1) / 2 pairs, which together weigh as much as one pair (arXiv 2203.02155, eq. 1)."""
        count = len(self.answers)
        if len(self.ranks) != count or count < 2 or len(self.ended or self.ranks) != count:
            raise ValueError("answers, ranks and ended must be of one length, at least 2")
        ended = self.ended or (True,) * count
        for pair in combinations(range(count), 2):
            better, worse = sorted(pair, key=lambda index: self.ranks[index])
            yield PreferencePair(
                prompt=self.prompt,
                chosen=self.answers[better],
                rejected=self.answers[worse],
                preference=TIE if self.ranks[better] == self.ranks[worse] else 1.0,
                weight=2.0 / (count * (count - 1)),
                source="import",
                tags=self.tags,
                conversation_id=self.conversation_id,
                ranking_id=ranking_id,
                chosen_ended=ended[better],
                rejected_ended=ended[worse],
            )


def read_pairs(path: Path) -> list[PreferencePair]:
    """Reads preference pairs and rankings, one JSON object a line; a ranking becomes all its pairs.

    Raises:
        DataError: the file is missing or empty, or a line cannot be trained on; names file, line and field.
    """
    pairs: list[PreferencePair] = []
    for number, line in read_lines(path):
        try:
            found = _parsed(line, f"line {number}")
        except ValidationError as error:
            raise DataError(f"{path}, line {number}: {problems(error)}") from None
        except ValueError as error:
            raise DataError(f"{path}, line {number}: {error}.") from None
        for pair in found:
            check_pair(pair, f"{path}, line {number}")
        pairs += found
    if not pairs:
        raise DataError(f"{path} holds no pairs. Collect votes that prefer one answer (a or b) first.")
    return pairs


def check_pair(pair: PreferencePair, where: str) -> None:
    """Raises DataError when a pair cannot teach anything."""
    if not pair.prompt or pair.prompt[-1].role != "user":
        raise DataError(f"{where}: prompt must end with a user's turn.")
    sides = {"chosen": pair.chosen, "rejected": pair.rejected}
    if pair.source == "thumb":
        sides = {name: answer for name, answer in sides.items() if answer}
        if len(sides) != 1:
            raise DataError(f"{where}: a thumb has one answer: leave chosen or rejected empty, not both.")
    for name, answer in sides.items():
        if len(answer) != 1 or answer[0].role != "assistant":
            raise DataError(f"{where}: {name} must be exactly one assistant turn.")
    texts = {answer[0].content.strip() for answer in sides.values()}
    if len(sides) == 2 and len(texts) == 1 and pair.chosen_ended == pair.rejected_ended:
        raise DataError(f"{where}: chosen and rejected are the same text. Leave the pair out.")


def token_pairs(
    pairs: Sequence[PreferencePair], tokenizer: PreTrainedTokenizerBase, max_tokens: int
) -> list[TokenPair]:
    """Token ids of the pairs that fit into `max_tokens` with their last turn; the others are left out."""
    result = []
    for pair in pairs:
        chosen = _answer_ids(tokenizer, pair.chosen, pair.chosen_ended)
        rejected = _answer_ids(tokenizer, pair.rejected, pair.rejected_ended)
        answers = [ids for ids in (chosen, rejected) if ids is not None]
        if not all(answers):
            continue
        try:
            prompt = prompt_ids(tokenizer, pair.prompt, max_tokens - max(len(ids) for ids in answers))
        except DataError:
            continue
        result.append(
            TokenPair(
                chosen=prompt + chosen if chosen else [],
                rejected=prompt + rejected if rejected else [],
                prompt_length=len(prompt),
                weight=pair.weight,
                source=pair.source,
                new=pair.new,
                preference=pair.preference,
                margin=pair.margin,
                tags=pair.tags,
                ranking_id=pair.ranking_id,
                vote_id=pair.vote_id,
            )
        )
    return result


def _parsed(line: Any, ranking_id: str) -> list[PreferencePair]:
    if isinstance(line, dict) and "ranks" in line:
        return list(Ranking.model_validate(line).pairs(ranking_id))
    return [PreferencePair.model_validate(line)]


def _answer_ids(
    tokenizer: PreTrainedTokenizerBase, answer: Sequence[ChatTurn], ended: bool
) -> list[int] | None:
    """None for the side that a thumb leaves empty."""
    return response_ids(tokenizer, answer[0].content, ended=ended) if answer else None
