"""What is exported loads where people use it: `datasets`, TRL's format checks, transformers."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from store.artifacts import seal
from store.connection import connect
from store.conversations import Conversations
from store.dataset.gather import position_now
from store.exchange.__main__ import main
from store.exchange.evidence import Format
from store.exchange.export import export
from store.exchange.frozen import pairs_digest
from store.exchange.manifest import Manifest
from store.exchange.model import What, model_export, tar
from store.explorer.index import VoteIndex
from store.imports import Imports
from store.lineage import Lineage
from store.opinions import Opinions
from store.policies import Policies
from store.queue import Queue
from store.records import GateCheck, GateReport, PolicyVersion, PreferencePair, VotedAnswer, new_id, now
from store.runs import Runs
from store.votes import VoteLog
from tests.archive_parts import asked_in, voted
from tests.present import present
from trainer.models import reward_model_from_policy
from workers.settings import WorkerSettings
from workers.snapshot import freeze

pytestmark = pytest.mark.anyio

FORMATS: tuple[Format, ...] = ("preference", "unpaired", "sft")
COLUMNS = {
    "preference": ("prompt", "chosen", "rejected"),
    "unpaired": ("prompt", "completion", "label"),
    "sft": ("messages",),
}
TRL = os.environ.get("HEED_TRL_PYTHON", "")
"""A Python that has TRL, which is no dependency: its own checks run only where this is said."""

CHECK = """
import json, sys
from datasets import load_dataset
from transformers import AutoTokenizer
from trl.data_utils import is_conversational, maybe_apply_chat_template

tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
for folder, columns in json.loads(sys.argv[2]):
    row = load_dataset(folder, split="train")[0]
    assert is_conversational(row), row
    example = {name: row[name] for name in columns}
    done = maybe_apply_chat_template(example, tokenizer)
    assert all(isinstance(done[name], (str, bool)) for name in set(columns) - {"messages"}), done
"""


@pytest.fixture
async def redis(redis_url: str, volume: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("HEED_DATA", str(volume))
    monkeypatch.setenv("HEED_REDIS_URL", redis_url)
    async with connect(redis_url) as client:
        yield client


async def frozen_run(redis: Any, volume: Path, folder: str = "") -> str:
    """A run with a frozen data set of everything that people said."""
    prompts = volume / "prompts.jsonl"
    lines = [{"prompt": [{"role": "user", "content": f"Bundled {n}"}]} for n in range(8)]
    prompts.write_text("".join(json.dumps(line) + "\n" for line in lines))
    runs = Runs(redis)
    run = await runs.request("votes")
    claim = await runs.acquire(run.id, "w", 30, 3)
    assert claim is not None
    frozen = await freeze(
        volume / "runs" / run.id / "snapshot",
        run_id=run.id,
        parent=1,
        votes=VoteLog(redis, volume),
        conversations=Conversations(redis, volume),
        at=await position_now(VoteLog(redis, volume), Opinions(redis), volume),
        queue=Queue(redis),
        opinions=Opinions(redis),
        settings=WorkerSettings(data=volume, redis_url="", config=volume, prompts=prompts),
        imported=await Imports(redis, volume).pairs(),
    )
    await Lineage(redis).record(run.id, [])
    await runs.update(claim, snapshot=frozen.snapshot)
    await runs.finish(claim, "succeeded")
    return run.id


async def said(redis: Any, volume: Path) -> None:
    """Votes of every kind, each on a text of its own."""
    votes = VoteLog(redis, volume)
    for number, choice in enumerate(("a", "b", "tie", "both_bad") * 4):
        asked = await asked_in(redis, text=f"Which river, {number}?")
        strength = 2 if number in (0, 1) else 1
        await votes.cast(voted("duel", choice, asked, strength=strength), asked.duel)
    for number, choice in enumerate(("ranked", "edited") * 4):
        asked = await asked_in(redis, text=f"Which mountain, {number}?")
        if choice == "ranked":
            await votes.cast(voted("ranking", choice, asked))
            continue
        original = asked.answers[0]
        ideal = original.model_copy(update={"id": new_id("ans"), "text": "!", "edited_from": original.id})
        both = [VotedAnswer(answer_id=one.id, version=1, position=1) for one in (original, ideal)]
        await votes.cast(voted("edit", choice, asked, answer_id=original.id, answers=both), edited=ideal)


async def test_votes_and_frozen_data_load_in_datasets_and_pass_trls_checks(
    redis: Any, volume: Path, tmp_path: Path, tiny_policy: Path
) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    await said(redis, volume)
    rows = (await VoteIndex(redis, volume).refresh()).rows
    run_id = await frozen_run(redis, volume)
    folders = []
    for form in FORMATS:
        votes, frozen = tmp_path / f"votes-{form}", tmp_path / f"frozen-{form}"
        made = await export(votes, rows, Conversations(redis), form=form, query="")
        columns = tmp_path / f"columns-{form}"
        packed = await export(columns, rows, Conversations(redis), form=form, query="", files="parquet")
        assert await _command("export", str(frozen), "--format", form, "--run", run_id) == 0
        again = Manifest.model_validate_json((frozen / "manifest.json").read_text())
        same = tmp_path / f"frozen-columns-{form}"
        wanted = ("--format", form, "--run", run_id, "--files", "parquet")
        assert await _command("export", str(same), *wanted) == 0
        in_columns = Manifest.model_validate_json((same / "manifest.json").read_text())
        assert {name.partition(".")[2] for name in in_columns.files} == {"parquet"}
        assert str(again.snapshot) in (frozen / "README.md").read_text()
        for folder, manifest in ((votes, made), (frozen, again), (columns, packed), (same, in_columns)):
            data = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
            counts = {split: len(data[split]) for split in data}
            assert counts == {name.partition(".")[0]: file.rows for name, file in manifest.files.items()}
            assert set(COLUMNS[form]) <= set(data["train"].column_names)
            folders.append((str(folder), COLUMNS[form]))
    if TRL:
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(tmp_path / "trl")}
        command = [TRL, "-W", "ignore", "-c", CHECK, str(tiny_policy), json.dumps(folders)]
        await asyncio.to_thread(subprocess.run, command, env=environment, check=True)


async def _command(*arguments: str) -> int:
    """`python -m store.exchange` in a process of its own: it has a loop of its own."""
    return await asyncio.to_thread(main, list(arguments))


async def test_frozen_data_seeds_a_new_installation_with_the_same_pairs(
    redis: Any, volume: Path, tmp_path: Path
) -> None:
    await said(redis, volume)
    run_id = await frozen_run(redis, volume)
    first = volume / "runs" / run_id / "snapshot"
    for form in ("preference", "unpaired"):
        assert await _command("export", str(tmp_path / form), "--format", form, "--run", run_id) == 0
    await redis.flushall()
    for path in await asyncio.to_thread(lambda: sorted(tmp_path.glob("*/t*.jsonl"))):
        assert await _command("import", str(path), "--tag", "heed") == 0
    second = volume / "runs" / await frozen_run(redis, volume) / "snapshot"
    for name in ("train.jsonl", "held_out.jsonl"):
        old, new = (
            [PreferencePair.model_validate_json(line) for line in (folder / name).read_text().splitlines()]
            for folder in (first, second)
        )
        assert len(old) > 0
        assert pairs_digest(new) == pairs_digest(one for one in old if one.preference == 1.0)


async def test_a_version_and_its_reward_model_load_in_transformers_from_the_tar(
    redis: Any, volume: Path, tmp_path: Path, tiny_policy: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

    await said(redis, volume)
    run_id = await frozen_run(redis, volume)
    reward_model = reward_model_from_policy(tiny_policy, seed=1, pad_token_id=256)
    made = tmp_path / "reward"
    reward_model.classifier.save_pretrained(made)
    AutoTokenizer.from_pretrained(tiny_policy).save_pretrained(made)
    digest = seal(tiny_policy, volume / "policies" / "v0002", {"version": 2})
    seal(made, volume / "reward_models" / "v0002", {"version": 2})
    check = GateCheck(name="kl", value=3.0, threshold=10.0, passed=True, reason="near enough")
    version = PolicyVersion(
        number=2, parent=1, run_id=run_id, reward_model=2, folder="v0002", sha256=digest,
        report=GateReport(passed=True, checks=(check,)), created_at=now(),
    )  # fmt: skip
    policies = Policies(redis, volume)
    await policies.register(version)
    kinds: dict[What, Any] = {
        "policy": AutoModelForCausalLM,
        "reward_model": AutoModelForSequenceClassification,
    }
    for what, kind in kinds.items():
        found = await model_export(volume, policies, Runs(redis), Lineage(redis), 2, what)
        length, parts = tar(found)
        data = b"".join(parts)
        assert len(data) == length
        with tarfile.open(fileobj=io.BytesIO(data)) as file:
            file.extractall(tmp_path / what, filter="data")
        folder = tmp_path / what / found.name
        model, info = kind.from_pretrained(folder, output_loading_info=True)
        assert not info["missing_keys"]
        assert AutoTokenizer.from_pretrained(folder).chat_template
        kept = load_file(found.folder / "model.safetensors")
        name = next(iter(kept))
        assert model.state_dict()[name].equal(kept[name])
        card = (folder / "README.md").read_text()
        snapshot = present(present(await Runs(redis).get(run_id)).snapshot)
        assert snapshot.sha256 in card
        assert "| parent | v1 |" in card
        assert ("near enough" in card) == (what == "policy")
    assert await _command("version", "2", str(tmp_path / "folder")) == 0
    assert (tmp_path / "folder" / "config.json").exists()
    assert await _command("version", "7", str(tmp_path / "none")) == 1
