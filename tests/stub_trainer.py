"""The trainer's command line without training: the same arguments, lines and folders, in milliseconds.

`HEED_STUB` names a JSON file, read at each start: {"<stage>": {"steps", "step_s", "exit", "nan", "passed",
"copies", "liar"}}. With `copies` the candidate is the policy with one bit changed, which engines can load; a
`liar` votes against what the others' votes let expect.
Every start is noted in `calls.jsonl` beside it.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import struct
import sys
import time
from pathlib import Path
from typing import Any

LM_HEAD = [0.5, -0.25, 1.0, 2.0]


def say(**event: Any) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def write_weights(folder: Path, numbers: list[float], name: str = "lm_head.weight") -> None:
    """A safetensors folder with one float32 tensor."""
    folder.mkdir(parents=True, exist_ok=True)
    data = struct.pack(f"<{len(numbers)}f", *numbers)
    entry = {"dtype": "F32", "shape": [len(numbers)], "data_offsets": [0, len(data)]}
    header = json.dumps({name: entry}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + data)
    (folder / "config.json").write_text("{}")


def steps(stage: str, plan: dict[str, Any], begin: int = 0) -> Any:
    count = plan.get("steps", 3)
    for step in range(begin, count):
        say(event="metric", step=step, of=count, values={"loss": 1.0 / (step + 1)})
        time.sleep(plan.get("step_s", 0.0))
        if "exit" in plan:
            sys.stderr.write(f"{stage}: out of luck at step {step}\n")
            sys.stderr.flush()
            if plan["exit"] < 0:
                os.kill(os.getpid(), -plan["exit"])
            sys.exit(plan["exit"])
        yield step


def resumable(stage: str, work: Path, plan: dict[str, Any]) -> int:
    """All steps from the newest checkpoint on, a checkpoint after each; the step that it began with."""
    checkpoints = work / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    begin = max((int(path.name) + 1 for path in checkpoints.glob("[0-9]*")), default=0)
    for step in steps(stage, plan, begin):
        aside = checkpoints / f".tmp-{os.getpid()}"
        aside.mkdir()
        (aside / "state.json").write_text(str(step))
        aside.rename(checkpoints / f"{step:06d}")
    return begin


def seeds(given: dict[str, Path], plan: dict[str, Any]) -> dict[str, Any]:
    given["out"].write_text("{}\n")
    return {"pairs": 1}


def cross_fit(given: dict[str, Path], plan: dict[str, Any]) -> dict[str, Any]:
    """Every vote is as the others' let expect, but those of the plan's `liar`."""
    for _ in steps("cross_fit", plan):
        pass
    votes = map(json.loads, (given["data"] / "annotators.jsonl").read_text().splitlines())
    margins = {
        vote_id: -1.0 if one["annotator_id"] == plan.get("liar") else 1.0
        for one in votes
        for vote_id in one["vote_ids"]
    }
    given["out"].write_text(json.dumps(margins))
    return {"votes": len(margins)}


def reward(given: dict[str, Path], plan: dict[str, Any]) -> dict[str, Any]:
    begin = resumable("reward", given["work"], plan)
    assert given["seed-pairs"].exists()
    write_weights(given["out"], [1.0], "score.weight")
    pairs = len(given["pairs"].read_text().splitlines())
    (given["out"] / "report.json").write_text(json.dumps({"pairs": pairs}))
    report = {"pairs": pairs, "held_out": {"accuracy": 0.75, "margin": 0.1}, "prequential": None}
    return report | ({"resumed_from": begin} if begin else {})


def reward_gate(given: dict[str, Path], plan: dict[str, Any]) -> dict[str, Any]:
    passed = plan.get("passed", True)
    check = {
        "name": "accuracy",
        "value": 0.2,
        "threshold": 0.6,
        "passed": passed,
        "reason": "20% of held-out pairs ranked as the votes say",
    }
    report = {"passed": passed, "checks": [check]}
    given["out"].write_text(json.dumps(report))
    return report


def ppo(given: dict[str, Path], plan: dict[str, Any]) -> dict[str, Any]:
    begin = resumable("ppo", given["work"], plan)
    if plan.get("copies"):
        shutil.copytree(given["policy"], given["out"], ignore=shutil.ignore_patterns("manifest.json"))
        with open(given["out"] / "model.safetensors", "r+b") as file:
            file.seek(-2, os.SEEK_END)  # the least bit of the last number
            least = file.read(1)[0] ^ 1
            file.seek(-2, os.SEEK_END)
            file.write(bytes([least]))
    else:
        write_weights(given["out"], [float("nan") if plan.get("nan") else 0.75, *LM_HEAD[1:]])
    return {"resumed_from": begin, "reward_mean": 1.5}


def gate(given: dict[str, Path], plan: dict[str, Any]) -> dict[str, Any]:
    for _ in steps("gate", plan):
        pass
    passed = plan.get("passed", True)
    check = {
        "name": "ref_kl",
        "value": 9.0,
        "threshold": 8.0,
        "passed": passed,
        "reason": "9.0 against 8.0: too far from the reference",
    }
    fingerprints = [] if plan.get("copies") else [{"prompt": "Hi", "token_ids": [1, 2]}]
    report = {"passed": passed, "checks": [check], "fingerprints": fingerprints}
    given["out"].write_text(json.dumps(report))
    samples = {"prompts": ["Hi"], "answers": {"active": ["Hello."], "candidate": ["Hello there!"]}}
    given["out"].with_name("samples.json").write_text(json.dumps(samples))
    return report


def score(given: dict[str, Path], plan: dict[str, Any]) -> dict[str, Any]:
    """An answer's score is its length, unless `scores` names another one."""
    for _ in steps("score", plan):
        pass
    lines = []
    for case in map(json.loads, given["cases"].read_text().splitlines()):
        texts = [answer["text"] for answer in case["answers"]]
        scores = [plan.get("scores", {}).get(text, len(text)) for text in texts]
        lines.append(json.dumps({"id": case["id"], "scores": None if None in scores else scores}) + "\n")
    given["out"].write_text("".join(lines))
    return {"cases": len(lines)}


def ask(given: dict[str, Path], plan: dict[str, Any]) -> dict[str, Any]:
    """The models are sure of all answers but those to every second prompt."""
    for _ in steps("ask", plan):
        pass
    prompts = [json.loads(line)["prompt"] for line in given["prompts"].read_text().splitlines()]
    models = 1 + ("previous" in given) + ("held-back" in given)
    lines = []
    for number, prompt in enumerate(prompts):
        far = 0.1 if number % 2 == 0 else 5.0
        answers = [{"text": f"answer {n} to {number}", "version": 1, "tokens": 3} for n in range(2)]
        lines.append({"prompt": prompt, "answers": answers, "scores": [[0.0] * models, [far] * models]})
    given["out"].write_text("".join(json.dumps(line) + "\n" for line in lines))
    return {"prompts": len(prompts)}


STAGES = {
    "seeds": seeds,
    "cross_fit": cross_fit,
    "reward": reward,
    "reward_gate": reward_gate,
    "ppo": ppo,
    "gate": gate,
    "ask": ask,
    "score": score,
}


def main(stages: dict[str, Any] = STAGES) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    stage, *words = sys.argv[1:]
    given = {
        name.removeprefix("--"): Path(value) for name, value in zip(words[::2], words[1::2], strict=True)
    }
    if "set" in given:  # the one that may be there more than once
        given["set"] = Path(" ".join(word for name, word in itertools.pairwise(words) if name == "--set"))
    plan_file = Path(os.environ["HEED_STUB"])
    with open(plan_file.with_name("calls.jsonl"), "a") as calls:
        calls.write(
            json.dumps({"stage": stage, "pid": os.getpid()} | {k: str(v) for k, v in given.items()}) + "\n"
        )
    plan = json.loads(plan_file.read_text()).get(stage, {})
    say(event="log", text=f"{stage} begins")
    say(event="done", report=stages[stage](given, plan))


if __name__ == "__main__":
    main()
