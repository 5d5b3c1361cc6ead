"""Leaks: an answer that says which model it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from server.leaks import find_leak, names_of, served_names


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello! I am ChatGPT, a model by OpenAI.", "I am ChatGPT"),
        ("I\u2019m a language model trained by Google.", "I\u2019m a language model trained by Google"),
        ("As an AI developed by Anthropic, I cannot.", "As an AI developed by Anthropic"),
        ("My creators are\nOpenAI", None),
        ("I was developed by the team at Hugging Face.", "I was developed by the team at Hugging Face"),
        ("Well, Meta trained me.", "Meta trained me"),
        ("I am version 12 of this assistant.", "I am version 12"),
        ("My name is v7.", "My name is v7"),
        ("\u6211\u662f\u901a\u4e49\u5343\u95ee\u3002", "\u6211\u662f\u901a\u4e49\u5343\u95ee"),
        (
            "\u6211\u662f\u7531\u963f\u91cc\u5df4\u5df4\u5f00\u53d1\u7684",
            "\u6211\u662f\u7531\u963f\u91cc\u5df4\u5df4",
        ),
        ("OpenAI released ChatGPT in 2022.", None),
        ("I am happy. Google is a company.", None),
        ("I am sure that Google is a company.", None),
        ("As an AI language model, I cannot do that.", None),
        ("This is Python version 3; use v2 of the API.", None),
        ("I'm glad you asked: llamas are animals.", None),
        ("I am meta-aware.", None),
        ("", None),
    ],
)
def test_a_name_counts_where_the_answer_speaks_of_itself(text: str, words: str | None) -> None:
    assert find_leak(text) == words


def test_what_the_model_here_is_called_counts_wherever_it_stands(tmp_path: Path) -> None:
    assert names_of("HuggingFaceTB/SmolLM2-135M-Instruct") == ("SmolLM2-135M-Instruct", "SmolLM2")
    assert names_of("/models/gpt2") == ("gpt2",)
    assert served_names(tmp_path) == ()
    manifest = tmp_path / "policies" / "v0001" / "manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"model": "HuggingFaceTB/SmolLM2-135M-Instruct"}))
    names = served_names(tmp_path)
    assert find_leak("People like smollm2-135m-instruct.", names) == "smollm2-135m-instruct"
    assert find_leak("SmolLM2 is small.", names) == "SmolLM2"
    assert find_leak("SmolLM2 is small.") is None


def test_the_longest_text_costs_no_more_than_its_length() -> None:
    """A search that went back and forth in it would not end before the test's time is over."""
    assert find_leak("I am " * 200_000 + "google made " * 200_000) is None
