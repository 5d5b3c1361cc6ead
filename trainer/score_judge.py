"""A reward model as judge: the answer with the higher score is the better one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from trainer.config import RewardConfig
from trainer.data import Prompt, load_tokenizer, prompt_ids, response_ids
from trainer.errors import DataError, ModelError
from trainer.judging import Case, Verdict
from trainer.models import default_device, frozen, load_reward_model
from trainer.ranking import score_sequences
from trainer.seeds import DrawnAnswer

Told = tuple[Prompt, DrawnAnswer]


class ScoreJudge:
    """Scores text with the reward model's own tokenizer, so it may be of another family than the policies.

    It reads one answer at a time: no order can sway it.
    """

    def __init__(self, folder: Path, config: RewardConfig, *, tie_margin: float) -> None:
        """Loads the folder; a difference of scores up to `tie_margin` is a tie.

        Raises:
            ModelError: the folder holds no reward model.
        """
        self.name = f"reward model {folder.name}"
        self._folder = folder
        self._config = config
        self._tie_margin = tie_margin
        self._tokenizer = load_tokenizer(folder)
        self._model = frozen(load_reward_model(folder, default_device()))
        self._known: dict[Told, float] = {}

    def scores(self, answers: Sequence[Told]) -> list[float]:
        """Score of each answer to its prompt.

        Raises:
            DataError: a prompt and its answer do not fit into `reward.max_tokens`.
            ModelError: a score is not finite.
        """
        new = [told for told in dict.fromkeys(answers) if told not in self._known]
        if new:
            pad = self._model.classifier.config.pad_token_id
            sequences = [self._ids(*told) for told in new]
            scores = score_sequences(self._model, sequences, pad, self._config.micro_batch_tokens).tolist()
            if not all(math.isfinite(score) for score in scores):
                raise ModelError(f"{self._folder} scores an answer with NaN or infinity. Train it again.")
            self._known |= dict(zip(new, scores, strict=True))
        return [self._known[told] for told in answers]

    def verdicts(self, cases: Sequence[Case]) -> list[Verdict | None]:
        """The higher score of each case, or a tie."""
        told = [(case.prompt, answer) for case in cases for answer in (case.a, case.b)]
        scores = self.scores(told)
        return [self._verdict(a, b) for a, b in zip(scores[::2], scores[1::2], strict=True)]

    def _verdict(self, a: float, b: float) -> Verdict:
        if abs(a - b) <= self._tie_margin:
            return "tie"
        return "a" if a > b else "b"

    def _ids(self, prompt: Prompt, answer: DrawnAnswer) -> list[int]:
        said = response_ids(self._tokenizer, answer.text, ended=answer.ended)
        try:
            return prompt_ids(self._tokenizer, prompt, self._config.max_tokens - len(said)) + said
        except DataError:
            limit = self._config.max_tokens
            raise DataError(
                "a prompt and its answer have more tokens of the reward model than"
                f" reward.max_tokens = {limit}. Raise it."
            ) from None
