"""Tiny policies whose every word names the version: an answer of two versions shows itself.

Each version speaks letters of its own only, whatever it is asked and however the answer is batched: the first
layer writes one constant into the state, and the (tied) embedding of the version's letters points along it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from store.artifacts import seal
from trainer.tiny import byte_tokenizer, make_tiny

LETTERS = ("abcdef", "ghijkl", "mnopqr", "stuvwx")
SAME, MARK = 0, 1
"""Directions of the state: one that every token has, and the one that the version's letters point along."""


def publish_marked(volume: Path, number: int, letters: str) -> str:
    """Seal a policy that speaks only these letters as this version; its digest."""
    with tempfile.TemporaryDirectory() as name:
        made = make_tiny(Path(name) / "made", seed=number)
        weights = load_file(made / "model.safetensors")
        vocabulary = byte_tokenizer().get_vocab()
        embedding = weights["model.embed_tokens.weight"]
        embedding[:, SAME] = 4.0
        embedding[:, MARK] = -3.0
        embedding[[vocabulary[letter] for letter in letters], MARK] = 3.0
        weights["lm_head.weight"] = embedding.clone()
        mlp = "model.layers.0.mlp."
        # The first neuron sees SAME only: it says the same for every token.
        for one in ("gate_proj", "up_proj"):
            weights[f"{mlp}{one}.weight"][0] = torch.eye(embedding.shape[1])[SAME]
        weights[f"{mlp}down_proj.weight"][MARK, 0] = 0.5
        save_file(weights, made / "model.safetensors", metadata={"format": "pt"})
        return seal(made, volume / "policies" / f"v{number:04d}", {"version": number})
