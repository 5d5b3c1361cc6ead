"""Records: every shape that crosses a process boundary, frozen and typed."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Side = Literal["a", "b"]
DuelChoice = Literal["a", "b", "tie", "both_bad", "skip"]
ThumbChoice = Literal["up", "down"]
VoteKind = Literal["duel", "thumb", "ranking", "edit"]
VoteChoice = Literal["a", "b", "tie", "both_bad", "skip", "up", "down", "ranked", "edited"]
VoteStatus = Literal["active", "undone", "excluded"]
Strength = Literal[1, 2]
Check = Literal["gold", "repeat"]
AskedHow = Literal["uncertain", "random"]
VoteFlag = Literal["duplicate", "too_quick", "same_key", "one_side", "trial"]
AnswerState = Literal["streaming", "finished", "stopped", "failed"]
PolicyState = Literal["candidate", "canary", "active", "retired", "rejected", "rolled_back"]
RunState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Stage = Literal["freeze", "reward", "ppo", "gate", "release"]
StageState = Literal["waiting", "running", "done", "failed", "skipped"]
EngineState = Literal["starting", "ready", "loading", "down"]
Role = Literal["admin", "engineer", "reviewer", "annotator", "user"]
Scope = Literal["chat", "feedback", "read", "admin"]

STAGES: tuple[Stage, ...] = ("freeze", "reward", "ppo", "gate", "release")
FLAGS: tuple[VoteFlag, ...] = ("duplicate", "too_quick", "same_key", "one_side", "trial")
SCOPES: tuple[Scope, ...] = ("chat", "feedback", "read", "admin")


def new_id(prefix: str) -> str:
    """A random identifier such as `duel_9f2c...`; order comes from timestamps, never from ids."""
    return f"{prefix}_{secrets.token_hex(10)}"


def now() -> datetime:
    return datetime.now(UTC)


class Record(BaseModel):
    """Base of all records: immutable, unknown fields refused, NaN and infinity refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ChatTurn(Record):
    """One line of a prompt as a chat template takes it."""

    role: Literal["system", "user", "assistant"]
    content: str


class Sampling(Record):
    """How one answer is drawn from the policy."""

    max_tokens: int = Field(default=256, ge=1, le=8192)
    temperature: float = Field(default=1.0, ge=0.0, le=2.0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    seed: int | None = None
    stop: tuple[str, ...] = Field(default=(), max_length=4)
    frequency_penalty: float = Field(default=0.0, ge=-2.0, le=2.0)
    presence_penalty: float = Field(default=0.0, ge=-2.0, le=2.0)
    logit_bias: dict[int, float] = Field(default_factory=dict, max_length=300)
    """Token id -> what is added to its logit."""


class Conversation(Record):
    """A tree of messages; `leaf_id` is the end of the branch that is shown."""

    id: str
    owner_id: str
    title: str
    system_prompt: str | None = None
    leaf_id: str | None = None
    created_at: datetime
    updated_at: datetime


class Message(Record):
    """A user's turn. `parent_id` is the answer before it (None at the root)."""

    id: str
    conversation_id: str
    parent_id: str | None
    text: str
    system_prompt: str | None = None
    """What its answers were told first: the conversation's system prompt of that time; empty means none."""
    created_at: datetime
    before: tuple[ChatTurn, ...] = ()
    """Of a root that came by the API: the turns before it, which were said elsewhere."""


class Answer(Record):
    """One assistant turn; siblings share `parent_id`, the user's message.

    `versions` names every policy version that made part of the text, in order: one entry, unless a
    single engine was swapped while it spoke (such an answer never counts in a duel). Version 0 stands for a
    text that no policy of this platform made; an imported answer has no `versions` and is never voted on.
    """

    id: str
    conversation_id: str
    parent_id: str
    stream_id: str
    duel_id: str | None = None
    side: Side | None = None
    state: AnswerState = "streaming"
    text: str = ""
    policy_version: int
    versions: tuple[int, ...]
    sampling: Sampling
    prompt_tokens: int | None = None
    response_tokens: int | None = None
    continued: tuple[int, ...] = ()
    """Lengths of the text at which it broke off and went on: on another engine, or when somebody asked."""
    finish_reason: Literal["stop", "length", "stopped", "error"] | None = None
    error: str | None = None
    leak: str | None = None
    """The words by which the answer names its model; None: it does not."""
    edited_from: str | None = None
    """The answer that a person rewrote into this one; its version is that of the original."""
    withdrawn: bool = False
    """Whoever rewrote it took the vote back: it is shown only where the chat went on from it."""
    created_at: datetime
    ended_at: datetime | None = None


class Duel(Record):
    """Two answers to one message, shown blind. `seed` decided which engine answer became side a."""

    id: str
    conversation_id: str
    parent_id: str
    stream_id: str
    answer_a: str
    answer_b: str
    seed: int
    owner_id: str
    vote_id: str | None = None
    revealed: bool = False
    """Its versions were shown with a vote: after an undo the next vote on it is not blind."""
    item_id: str | None = None
    """The item of the annotators' queue that it serves."""
    check: Check | None = None
    asked: AskedHow | None = None
    """How the platform chose to ask about these answers; None: it did not."""
    created_at: datetime


class Response(Record):
    """An answer or several to one prompt of an API client, kept for a while so that feedback can come.

    Only with feedback do its conversation, message and answers join the others.
    """

    id: str
    conversation: Conversation
    message: Message
    answers: tuple[Answer, ...]
    """One a choice, in the order of the choices."""


class VotedAnswer(Record):
    """One answer that a vote is about, as the annotator saw it."""

    answer_id: str
    version: int
    position: int = Field(ge=1)
    """1 was shown first; in a duel 1 is side a."""
    rank: int | None = Field(default=None, ge=1)
    """In a ranking: 1 is best, equal ranks tie."""
    tokens: int | None = None
    leak: str | None = None
    """The words by which it names its model."""


class Exclusion(Record):
    """Why a vote is kept out of training and statistics; it can be put back."""

    by: str
    """An account id, or `heed` for what the platform keeps out by itself."""
    reason: str = Field(min_length=1, max_length=500)
    at: datetime


class Vote(Record):
    """An annotator's verdict, in its present state; the log keeps every earlier one.

    On a duel (a, b, tie, both_bad, skip), a thumb on one answer (up, down), a ranking of siblings (ranked),
    or an ideal answer written from one (edited). `answer_id` is what a thumb or an edit is about.
    """

    id: str
    kind: VoteKind
    conversation_id: str
    duel_id: str | None = None
    answer_id: str | None = None
    annotator_id: str
    choice: VoteChoice
    strength: Strength = 1
    """2: a or b is much better."""
    answers: tuple[VotedAnswer, ...] = ()
    """In the order shown; of an edit the original, then the edited one. Empty in votes of version 0.1."""
    version_a: int | None = None
    version_b: int | None = None
    tags: tuple[str, ...] = ()
    """Reasons, such as `incorrect`."""
    comment: str | None = Field(default=None, max_length=2000)
    shown_ms: int | None = Field(default=None, ge=0)
    blind: bool = True
    """The annotator could not know the versions."""
    early: bool = False
    """Cast while an answer was still being written; the loser was stopped."""
    guideline_version: int | None = None
    """The guidelines that held; None: there were none."""
    item_id: str | None = None
    """The item of the annotators' queue; all votes on it are about the same two texts."""
    check: Check | None = None
    """It measures the annotator and never trains."""
    texts: str | None = None
    """Digest of the message and answers that were judged: the same texts again have the same."""
    flags: tuple[VoteFlag, ...] = ()
    """Why the platform doubts it (`store/dataset/flags.py`)."""
    asked: AskedHow | None = None
    """How the platform chose its two answers. `uncertain` ones teach, and are in no statistics: they are no
    sample of anything."""
    status: VoteStatus = "active"
    exclusion: Exclusion | None = None
    """Set while the status is `excluded`."""
    idempotency_key: str
    created_at: datetime
    changed_at: datetime | None = None

    @property
    def leaked(self) -> bool:
        """An answer named its model: the vote is in no ranking of versions."""
        return any(answer.leak for answer in self.answers)

    @property
    def versions(self) -> tuple[int, ...]:
        """Of the answers, in the order shown."""
        of_duel = tuple(number for number in (self.version_a, self.version_b) if number is not None)
        return tuple(answer.version for answer in self.answers) or of_duel

    @property
    def makes_pair(self) -> bool:
        """Whether it teaches that one answer is better than another: what a training waits for."""
        if self.status != "active" or self.check is not None:
            return False
        if self.kind == "ranking":
            return len({answer.rank for answer in self.answers}) > 1
        return self.choice in ("a", "b", "edited")


class VoteChange(Record):
    """One line of a vote's history: what happened to it, by whom, and what it was after that."""

    what: Literal["cast", "amend", "undo", "exclude", "restore", "flag"]
    by: str
    at: datetime
    vote: Vote


class ItemAnswer(Record):
    """One of the two answers of a queue's item; version 0 stands for a text that came with the prompt."""

    text: str = Field(min_length=1)
    version: int = 0
    ended: bool = True
    """False: it was cut at the length limit."""
    tokens: int | None = None
    leak: str | None = None


class AskedAs(Record):
    """How the platform chose two answers to ask about."""

    how: AskedHow
    probability: float = Field(gt=0, le=1)
    """That the draw took these two; 1 where they were taken for their uncertainty."""
    uncertainty: float = Field(ge=0, le=1)
    """Of the reward models; see `workers/choosing.py`."""
    run_id: str


class AskedAnswers(Record):
    """Answers of one version to a prompt, and what the reward models think of each."""

    prompt: tuple[ChatTurn, ...]
    answers: tuple[ItemAnswer, ...]
    scores: tuple[tuple[float, ...], ...]
    """By answer, one of each reward model."""


class QueueItem(Record):
    """A prompt of the annotators' queue. Its two answers are drawn for the first who gets it, then kept."""

    id: str
    prompt: tuple[ChatTurn, ...]
    answers: tuple[ItemAnswer, ...] = ()
    """None yet, or two."""
    gold: DuelChoice | None = None
    """The known verdict, in the order of `answers`: the item measures annotators and never trains."""
    overlap: int = Field(default=1, ge=1, le=50)
    """How many annotators judge it."""
    asked: AskedAs | None = None
    """The platform asks; None: a person does."""
    source: Literal["upload", "conversation", "asked"]
    by: str
    created_at: datetime


class QueueTask(Record):
    """One item as it was given to one annotator: a duel of their own, until it is voted on or runs out."""

    item_id: str
    annotator_id: str
    conversation_id: str
    duel_id: str
    swapped: bool
    """Side a is the item's second answer."""
    check: Check | None = None
    expires_at: datetime


class Verdict(Record):
    """What an annotator said about an item, in the order of its answers whatever sides they stood on."""

    item_id: str
    vote_id: str
    choice: DuelChoice
    swapped: bool
    check: Check | None = None
    gold: DuelChoice | None = None
    at: datetime


class Guidelines(Record):
    """What annotators are asked to prefer, in Markdown; each change is a new version, 1 the first."""

    version: int = Field(ge=1)
    text: str = Field(min_length=1, max_length=100_000)
    by: str
    at: datetime


class PreferencePair(Record):
    """One prompt, two answers, one preferred (TRL's conversational preference form plus lineage).

    A thumb (source `thumb`) is about one answer only: thumb up has no `rejected`, thumb down no `chosen`.
    """

    prompt: tuple[ChatTurn, ...]
    chosen: tuple[ChatTurn, ...]
    rejected: tuple[ChatTurn, ...]
    preference: float = Field(default=1.0, ge=0.5, le=1.0)
    """Probability that `chosen` is the better one; 0.5 is a tie."""
    margin: float = Field(default=0.0, ge=0.0)
    """How far the score of `chosen` has to be ahead, on top of the trainer's own margin."""
    weight: float = Field(default=1.0, gt=0.0)
    source: Literal["vote", "seed", "import", "thumb"] = "vote"
    tags: tuple[str, ...] = ()
    """Domains that the report tells apart, such as `helpful`, `harmless` or a language."""
    vote_id: str | None = None
    conversation_id: str | None = None
    ranking_id: str | None = None
    """Pairs of one ranking are learned from in one batch, each answer once."""
    new: bool = True
    """Not in any run that has ended yet."""
    chosen_ended: bool = True
    """False: the answer was cut at the length limit, so no end token follows it."""
    rejected_ended: bool = True


class AnswerText(Record):
    """An answer's words, and whether it ended by itself: only then does an end token follow."""

    text: str
    ended: bool = True


class ScoreCase(Record):
    """One prompt and its answers, as `trainer score` reads them."""

    id: str
    prompt: tuple[ChatTurn, ...] = Field(min_length=1)
    answers: tuple[AnswerText, ...] = Field(min_length=1)


class CaseScores(Record):
    """What the reward model says of a case, in the order of its answers."""

    id: str
    scores: tuple[float, ...] | None
    """None: prompt and answer do not fit into the model's limit, or an answer is empty."""


class Demonstration(Record):
    """An ideal answer that a person wrote, in the form that `sft.texts` and `ptx.texts` take."""

    prompt: tuple[ChatTurn, ...]
    chosen: tuple[ChatTurn, ...]
    vote_id: str
    conversation_id: str


class Snapshot(Record):
    """A frozen data set in a run's folder. `sha256` covers train, held-out and prompts files."""

    run_id: str
    votes: int
    new_votes: int
    train_pairs: int
    held_out_pairs: int
    prompts: int
    through: str
    """Stream id of the last vote that was looked at."""
    sha256: str
    created_at: datetime


class GateCheck(Record):
    """One gate: what was measured, against which threshold, and the reason in words.

    What was measured on `n` cases has a 95 % interval. Most of these checks refuse only when the whole
    interval lies on the wrong side of the threshold: the reason says so.
    """

    name: str
    value: float
    threshold: float
    passed: bool
    reason: str
    n: int | None = None
    low: float | None = None
    high: float | None = None


class Fingerprint(Record):
    """Greedy token ids of a version for one fixed prompt: what a healthy engine must say too."""

    prompt: str
    token_ids: tuple[int, ...]


class GateReport(Record):
    passed: bool
    checks: tuple[GateCheck, ...]
    fingerprints: tuple[Fingerprint, ...] = ()


class PolicyVersion(Record):
    """A sealed, numbered, servable policy. Version 1 is the base model."""

    number: int = Field(ge=1)
    parent: int | None = None
    run_id: str | None = None
    reward_model: int | None = None
    folder: str
    """Folder name under the volume's `policies/`."""
    sha256: str
    """Digest of the sealed manifest's file list."""
    state: PolicyState = "candidate"
    reason: str | None = None
    report: GateReport | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    created_at: datetime


class Activation(Record):
    """One line of the serving timeline: what became active, when, by whom, why."""

    number: int
    previous: int | None
    actor: str
    reason: str
    at: datetime


class Canary(Record):
    """The version that is compared with the active one, blind, on a share of the answers."""

    number: int
    share: float = Field(ge=0.0, le=1.0)
    """Of duels and turns; a conversation is in or out of it as a whole."""
    started_at: datetime
    actor: str
    reason: str
    before: PolicyState = "candidate"
    """What the version was, and is again when the canary is stopped."""
    ramp: tuple[float, ...] = ()
    """Shares that it gets next; a person who changes the share ends the ramp."""
    next_at: int | None = None
    """Decisive votes at which it gets the next of these."""


class StageStatus(Record):
    stage: Stage
    state: StageState = "waiting"
    started_at: datetime | None = None
    ended_at: datetime | None = None
    summary: dict[str, Any] = Field(default_factory=dict)


class Run(Record):
    """One retrain. This record, not Celery, says what is true about it."""

    id: str
    state: RunState
    requested_by: str
    """`votes`, `schedule`, `calendar`, `drift` or an account id."""
    reason: str | None = None
    """What the person who asked for it said."""
    stages: tuple[StageStatus, ...] = tuple(StageStatus(stage=stage) for stage in STAGES)
    attempt: int = 0
    token: int = 0
    owner: str | None = None
    cancel_requested: bool = False
    config: dict[str, Any] = Field(default_factory=dict)
    snapshot: Snapshot | None = None
    version: int | None = None
    error: str | None = None
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None


class MetricRow(Record):
    """One step of a training stage, as the dashboard draws it."""

    run_id: str
    stage: Stage
    step: int
    of: int | None = None
    values: dict[str, float]
    at: datetime


class EngineStatus(Record):
    """What one vLLM engine holds and how it is, as the server that drives it saw it last."""

    name: str
    address: str
    state: EngineState
    version: int | None = None
    in_flight: int = 0
    error: str | None = None
    draining: bool = False
    """Somebody asked that it gets no new answers."""
    device: str = ""
    """What it computes on: engines with the same device share it."""
    seen_at: datetime


class WorkerBeat(Record):
    """A Celery worker that listens."""

    name: str
    queues: tuple[str, ...]
    at: datetime


class RedisHealth(Record):
    """Redis in numbers, as the System page shows it."""

    version: str
    uptime_s: int
    ping_ms: float
    clock_skew_s: float
    """How far its clock is ahead of this machine's."""
    appendonly: str | None
    appendfsync: str | None
    maxmemory_policy: str | None
    """None where a managed service hides the setting."""
    aof_write_ok: bool
    memory_bytes: int
    maxmemory_bytes: int
    """0 is no limit."""
    aof_bytes: int | None
    clients: int
    blocked_clients: int


class Pause(Record):
    """Somebody stopped the schedule: no training starts by itself until it is resumed."""

    actor: str
    reason: str
    at: datetime


class Account(Record):
    id: str
    name: str
    role: Role
    password_hash: str
    created_at: datetime
    disabled_at: datetime | None = None
    """Since when it can neither sign in nor use a key; what it said and voted stays."""
    admitted_at: datetime | None = None
    """Since when its votes count at once, where new accounts are on trial (`[votes] trial_votes`)."""


class Session(Record):
    """One signed-in browser. Its token is the browser's alone; `id` is the beginning of the token's hash."""

    id: str
    account_id: str
    created_at: datetime
    confirmed_at: datetime
    """When the password was typed last: what moves versions asks for a fresh one."""
    seen_at: datetime
    """Within five minutes."""
    until: datetime
    address: str = ""
    agent: str = ""


class Invite(Record):
    """A one-time link: to a new account with this role, or (`account_id`) to a new password for one."""

    id: str
    role: Role
    account_id: str | None = None
    note: str = ""
    created_by: str
    created_at: datetime
    expires_at: datetime
    used_by: str | None = None
    used_at: datetime | None = None
    revoked_at: datetime | None = None


class ApiKey(Record):
    """What a program signs in with. Only the secret's hash is stored."""

    id: str
    account_id: str
    label: str
    created_at: datetime
    scopes: tuple[Scope, ...] = SCOPES
    """A key from before there were scopes may do what its account may."""
    ends: str = ""
    """Last four characters of the secret, to tell keys apart."""


class AuditEvent(Record):
    """Who did what to what; `store/audit.py` chains them by hashes."""

    actor: str
    action: str
    object: str
    before: Any = None
    after: Any = None
    reason: str | None = None
    detail: dict[str, Any] = Field(default_factory=dict)
    request_id: str | None = None
    at: datetime


class EngineMember(Record):
    """An engine on another host that joined at run time."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    address: str = Field(pattern=r"^https?://[A-Za-z0-9.\-\[\]:]+$", max_length=300)
    """Of its sidecar, `https://host:port`."""
    device: str = Field(min_length=1, max_length=64)
    """What it computes on: engines that name the same device share it."""
    actor: str
    joined_at: datetime
