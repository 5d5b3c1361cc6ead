"""Real preferences: reward models from HH-RLHF pairs, PPO-max against one of them, judged by another.

    python -m bench.real_data DATA OUT      about an hour on two cores

DATA holds HH-RLHF in TRL's preference form, one JSON object a line, gzipped: hh_helpful_train,
hh_harmless_train, hh_test, prompts_rollout; and Chinese pairs, zh_pairs_train and zh_pairs_test. The judge is
a second reward model, trained on pairs that the first one never saw. Each stage is the trainer's own command
line, and a stage whose folder in OUT is there already is not run again.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

from scripts.started import ROOT

SETTINGS = {
    "reward.seed_share": 0.0,
    "reward.max_tokens": 768,
    "rollout.max_prompt_tokens": 256,
    "rollout.max_new_tokens": 96,
    "gate.max_prompts": 128,
}


def rows(path: Path) -> list[dict[str, Any]]:
    """The file's lines in an order of its own, the same each time."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        found = [json.loads(line) for line in lines]
    random.Random(path.name).shuffle(found)
    return found


def pairs(data: Path, kind: str, sizes: dict[str, int], skip: int = 0) -> list[str]:
    """JSON lines of `sizes[domain]` pairs of each domain, from the `skip`-th on, tagged with the domain."""
    files = {
        "helpful": "hh_helpful_train" if kind == "train" else "hh_test",
        "harmless": "hh_harmless_train" if kind == "train" else "hh_test",
        "chinese": f"zh_pairs_{kind}",
    }
    lines = []
    for domain, size in sizes.items():
        found = [
            row
            for row in rows(data / f"{files[domain]}.jsonl.gz")
            if domain == "chinese" or row["category"] == domain
        ]
        for row in found[skip : skip + size]:
            pair = {name: row[name] for name in ("prompt", "chosen", "rejected")}
            lines.append(json.dumps(pair | {"source": "import", "tags": [domain]}, ensure_ascii=False))
    return lines


def written(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def stage(name: str, out: Path, *arguments: object, **settings: float) -> None:
    """Run one stage of the trainer unless its result is there; its events go to a file beside it."""
    if out.exists():
        return
    print(f"{name} -> {out.name}", flush=True)
    command = [sys.executable, "-m", "trainer", name, "--out", str(out), *map(str, arguments)]
    changed = SETTINGS | {key.replace("__", "."): value for key, value in settings.items()}
    command += [f"--set={key}={value}" for key, value in changed.items()]
    with out.with_name(f"{out.name}.events.jsonl").open("w") as events:
        subprocess.run(command, stdout=events, cwd=ROOT, check=True)


def show_reward_model(folder: Path) -> None:
    held_out = json.loads((folder / "report.json").read_text())["held_out"]
    print(f"\n{folder.name}: accuracy on the test files (95 % Wilson interval)\n")
    print("| domain | accuracy | interval | pairs |\n| --- | ---: | ---: | ---: |")
    for domain, share in {**held_out["by_tag"], "all": held_out}.items():
        low, high = share.get("low", share.get("accuracy_low")), share.get("high", share.get("accuracy_high"))
        accuracy = share.get("share", share.get("accuracy"))
        print(
            f"| {domain} | {accuracy:.3f} | {low:.3f} to {high:.3f} | {share.get('n', share.get('pairs'))} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pairs", type=int, default=320, help="of each of helpful and harmless, to train on")
    parser.add_argument("--test-pairs", type=int, default=160, help="of each, to judge by")
    parser.add_argument("--updates", type=int, default=12, help="of PPO-max")
    options = parser.parse_args()
    data, out, size = options.data, options.out, options.pairs
    out.mkdir(parents=True, exist_ok=True)
    english = {"helpful": size, "harmless": size}
    test = {"helpful": options.test_pairs, "harmless": options.test_pairs, "chinese": options.test_pairs // 2}
    held_out = written(out / "test.jsonl", pairs(data, "test", test))
    learned = written(out / "train.jsonl", pairs(data, "train", english | {"chinese": size // 3}))
    judged = written(out / "judge.jsonl", pairs(data, "train", english, skip=size))
    prompts = [json.dumps({"prompt": row["prompt"]}) for row in rows(data / "prompts_rollout.jsonl.gz")]
    rollout, unseen = (
        written(out / "rollout.jsonl", prompts[512:]),
        written(out / "unseen.jsonl", prompts[:512]),
    )
    policy, model, judge, trained = (out / name for name in ("base", "reward", "judge", "policy"))
    stage("base", policy)
    for folder, lines in ((model, learned), (judge, judged)):
        stage("reward", folder, "--policy", policy, "--pairs", lines, "--held-out", held_out)
        show_reward_model(folder)
    stage(
        "ppo", trained, "--policy", policy, "--reference", policy, "--reward-model", model,
        "--prompts", rollout, "--work", out / "work", ppo__updates=options.updates, ppo__lr=3e-5,
    )  # fmt: skip
    for name, folder in (("its reward model", model), ("the judge", judge)):
        report = out / f"gate-{folder.name}.json"
        stage(
            "gate", report, "--candidate", trained, "--active", policy, "--reference", policy,
            "--reward-model", folder, "--prompts", unseen,
        )  # fmt: skip
        print(f"\nThe trained policy against its start, judged by {name}, on prompts it never saw:\n")
        for check in json.loads(report.read_text())["checks"]:
            print(f"- {check['name']} {check['value']:.3f}: {check['reason']}")


if __name__ == "__main__":
    main()
