"""The data card of an export: what it is, where it comes from, how to load it."""

from __future__ import annotations

from store.exchange.manifest import Manifest

_WHAT = {
    "preference": "Pairs of answers of which people preferred one: TRL's conversational *preference* format"
    " with an explicit prompt (`RewardTrainer`, `DPOTrainer`).",
    "unpaired": "Single answers that people called good or bad: TRL's conversational *unpaired preference*"
    " format (`KTOTrainer`).",
    "sft": "Conversations that end with an answer a person wrote: TRL's conversational *language modeling*"
    " format (`SFTTrainer`).",
}
_COLUMNS = {
    "preference": "`prompt`, `chosen`, `rejected` | lists of turns, `{role, content}`",
    "unpaired": "`prompt`, `completion`, `label` | lists of turns, and whether the answer is good",
    "sft": "`messages` | a list of turns, the last one is the demonstration",
}
_OWN = {
    "preference": (
        "`version_chosen`, `version_rejected` | the policy versions that wrote the answers",
        "`position_chosen` | 1: the chosen answer was shown first (on the left)",
        "`weight` | the pairs of one ranking weigh one together",
    ),
    "unpaired": ("`version` | the policy version that wrote the answer",),
    "sft": ("`version` | the policy version whose answer was rewritten",),
}
_LINEAGE = (
    "`vote_id`, `conversation_id`, `annotator` | where the row comes from; the annotator is an account's id",
    "`kind`, `strength`, `tags` | how the vote was given; strength 2 is *much better*",
    "`blind`, `early`, `leaked` | versions hidden; cast before the end; an answer named its model",
    "`flags` | why the platform doubted it: `duplicate`, `too_quick`, `same_key`, `one_side`, `trial`",
    "`guideline_version`, `created_at` | the guidelines that held, and when",
)


_FROZEN = (
    "`vote_id`, `conversation_id`, `source`, `tags` | where the row comes from; no vote: imported",
    "`weight`, `margin` | the pairs of one ranking weigh one together; *much better* asks for a margin of 1",
    "`chosen_ended`, `rejected_ended` | false: cut at the length limit",
)
_SPLIT = (
    "By conversation, by its id's hash: a tenth of them is in `test`, the same ones in every export."
    " Never split by row: the turns of one conversation repeat each other.\n"
)
_SPLIT_FROZEN = "`test` is what the training held out to judge its reward model; it trained on `train`.\n"


def data_card(manifest: Manifest) -> str:
    """README.md of the data set, which the Hub and `datasets` read too."""
    splits = sorted(manifest.files, reverse=True)  # train first
    head = ["---", "tags: [trl, rlhf, heed]"]
    if splits:
        head += ["configs:", "- config_name: default", "  data_files:"]
        for split in splits:
            head += [f"  - split: {split.partition('.')[0]}", f"    path: {split}"]
    own = (*_OWN[manifest.format], *_LINEAGE) if manifest.snapshot is None else _FROZEN
    columns = (_COLUMNS[manifest.format], *own)
    parts = [
        "\n".join([*head, "---", ""]),
        "# Votes from Heed\n",
        _WHAT[manifest.format] + "\n",
        f"- Made: {manifest.created_at}\n- {_source(manifest)}\n"
        f"- Votes found: {manifest.votes:,}, of which {manifest.used:,} have rows\n"
        f"- Digest of the files: `{manifest.sha256}`\n",
        _table(
            "File | Rows | SHA-256", [f"{n} | {f.rows:,} | `{f.sha256}`" for n, f in manifest.files.items()]
        ),
        "## Load it\n\n```python\nfrom datasets import load_dataset\n\n"
        'data = load_dataset("this/folder")\n```\n',
        "## Columns\n\n" + _table("Column | What it holds", list(columns)),
        "## What is not in it\n\n" + _left_out(manifest.left_out),
        "## Split\n\n" + (_SPLIT if manifest.snapshot is None else _SPLIT_FROZEN),
    ]
    return "\n".join(parts)


def _source(manifest: Manifest) -> str:
    if manifest.snapshot is None:
        return f"Query: {_query(manifest.query)}"
    return f"Frozen data set of {manifest.run_id}, SHA-256 `{manifest.snapshot}`"


def _query(query: str) -> str:
    return f"`{query.replace('`', chr(39))}`" if query.strip() else "none, every vote"


def _left_out(reasons: dict[str, int]) -> str:
    if not reasons:
        return "Every vote that was found has a row.\n"
    return _table("Reason | Votes", [f"{reason} | {votes:,}" for reason, votes in reasons.items()])


def _table(head: str, rows: list[str]) -> str:
    rule = " | ".join("---" for _ in head.split(" | "))
    return "\n".join(f"| {line} |" for line in (head, rule, *rows)) + "\n"
