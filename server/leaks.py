"""Leaks: does an answer say which model it is? A vote on such an answer is not blind.

To name a company is no leak, "I was made by" a company is: names count where the answer speaks of itself, as
do versions. What the model served here is called counts wherever it stands.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path, PurePath

# Alternatives of one pattern, not lists, so that each line is as it is matched.
_MODELS = (
    r"alpaca|baichuan|bard|chatglm|chatgpt|claude|command-r|copilot|deepseek|doubao|ernie|falcon|gemini|gemma"
    r"|glm-?[0-9]*|gpt-?[2345][a-z0-9.]*|grok|internlm|kimi|koala|llama|mistral|mixtral|moss|olmo|palm"
    r"|phi-?[0-9.]+|qwen|smollm|t[uü]lu|tongyi|vicuna|yi-?[0-9]+b|通义千问|文心一言|豆包"
)
_MAKERS = (
    r"01\.ai|ai2|alibaba|anthropic|baidu|bytedance|cohere|deepmind|facebook|google|hugging\s?face|lmsys|meta"
    r"|microsoft|mistral|moonshot|nvidia|openai|tencent|xai|zhipu|阿里巴巴|百度|腾讯|智谱|字节跳动"
)

_MADE = r"(?:made|built|created|developed|trained|designed|released)"
_MODEL = rf"(?<![A-Za-z])(?:{_MODELS})[0-9.]*(?![A-Za-z-])"
_MAKER = rf"(?<![A-Za-z])(?:{_MAKERS})(?![A-Za-z-])"
_I_AM = r"(?:\bI am\b|\bI['’]m\b|\bmy name is\b|\bI am called\b|\bcall me\b|我是|我叫|我的名字)"
_MYSELF = rf"(?:{_I_AM}|\bI was\b|\bas an?\b|\bmy (?:maker|creator|developer)s?\b|我由|作为)"
_FEW_WORDS = r"(?:[^.!?。!?\n]{0,40}?)"
_PATTERNS = [
    rf"{_I_AM}{_FEW_WORDS}{_MODEL}",
    rf"{_I_AM}\s(?:the\s|policy\s)*(?:version\s|v)[0-9]{{1,6}}\b",
    rf"{_MYSELF}{_FEW_WORDS}(?:{_MADE}\s(?:\w+\s){{0,2}}by|are|is|由){_FEW_WORDS}{_MAKER}",
    rf"{_MAKER}{_FEW_WORDS}\b{_MADE}\sme\b",
]
_NAMES_ITSELF = re.compile("|".join(_PATTERNS), re.IGNORECASE)


def find_leak(text: str, names: Iterable[str] = ()) -> str | None:
    """The words by which the text names its model, at most 200 characters; None when it does not.

    `names`: what the model served here is called, such as `SmolLM2-135M-Instruct`.
    """
    for pattern in (_NAMES_ITSELF, _called(tuple(names))):
        found = pattern.search(text) if pattern else None
        if found:
            return " ".join(found.group().split())[:200]
    return None


def names_of(model: str) -> tuple[str, ...]:
    """The names of a base model by its id or folder: `HuggingFaceTB/SmolLM2-135M-Instruct` is called
    `SmolLM2-135M-Instruct` and, before its size, `SmolLM2`.
    """
    whole = PurePath(model).name
    family = re.split(r"[-_ ]v?[0-9.]+[BbMm]\b", whole)[0]
    return tuple(dict.fromkeys(name for name in (whole, family) if len(name) >= 4))


def served_names(volume: Path) -> tuple[str, ...]:
    """The names of the model that version 1 was made from; none before it is there."""
    manifest = volume / "policies" / "v0001" / "manifest.json"
    try:
        model = json.loads(manifest.read_text()).get("model")
    except FileNotFoundError:
        return ()
    return names_of(model) if model else ()


@lru_cache(maxsize=16)
def _called(names: tuple[str, ...]) -> re.Pattern[str] | None:
    if not names:
        return None
    words = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return re.compile(rf"(?<![A-Za-z0-9])(?:{words})(?![A-Za-z])", re.IGNORECASE)
