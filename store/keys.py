"""Every Redis key, in one place. All begin with `heed:`."""

from __future__ import annotations

VOTES = "heed:votes"  # stream: one entry per vote and per change of one, append-only, the truth
VOTE_KEYS = "heed:votes:idempotency"  # hash: annotator:key -> stream entry id
VOTE_BY_ID = "heed:votes:by_id"  # hash: vote id -> stream entry id of the cast
VOTE_LATEST = "heed:votes:latest"  # hash: entry id of the cast -> entry id of the last change, if any
VOTE_OUT = "heed:votes:out"  # set: ids of votes that are undone or excluded
VOTE_RECOUNTS = "heed:votes:recounts"  # zset by name: casts that count otherwise than when they were cast
VOTE_MARKS = "heed:votes:marks"  # hash: attempted_through, trained_through -> stream entry id
THUMBS = "heed:votes:thumbs"  # hash: annotator:answer -> up or down, the latest
VOTES_TRIMMED = "heed:votes:trimmed"  # id of the newest entry that is in the archive only
REVIEWS = "heed:votes:reviews"  # stream: what reviewers say of votes
IMPORTS = "heed:imports"  # hash: id -> json

OPINIONS = "heed:opinions"  # hash: vote id -> json, what the reward model thought
OPINION_ORDER = "heed:opinions:order"  # zset: vote id by the number of its opinion
OPINION_COUNTER = "heed:opinions:counter"
OPINION_TROUBLE = "heed:opinions:trouble"  # json while none can be formed
OPINIONS_BEGUN = "heed:opinions:begun"  # until the next may be formed, with a TTL

HACKING = "heed:hacking"  # hash: told -> json of the last finding, through -> the version of the last pause

GUIDELINES = "heed:guidelines"  # list of json, version 1 first
GUIDELINES_READ = "heed:guidelines:read"  # hash: account id -> the newest version that it has read

QUEUE_ITEMS = "heed:queue:items"  # hash: item id -> json
QUEUE_OPEN = "heed:queue:open"  # zset: items that wait for more verdicts, by the time they came
QUEUE_GOLD = "heed:queue:gold"  # set: items with a known verdict
QUEUE_PLACES = "heed:queue:places"  # hash: item id -> how many annotators may have it now
QUEUE_COUNTS = "heed:queue:counts"  # hash: wanted, done -> verdicts
QUEUE_TASKS = "heed:queue:tasks"  # hash: duel id -> json of its task
QUEUE_ANNOTATORS = "heed:queue:annotators"  # set: ids of those with a verdict
QUEUE_TAKEN = "heed:queue:taken:"  # + item id, zset: annotator id by the time it runs out

CONVERSATIONS = "heed:conversations"  # hash: id -> json
ANSWER_PLACE = "heed:answers:place"  # hash: answer id -> conversation id
DUEL_PLACE = "heed:duels:place"  # hash: duel id -> conversation id
TRASH = "heed:trash"  # hash: conversation id -> json, deleted but not yet for good
TRASH_DUE = "heed:trash:due"  # zset: conversation id by the time when it goes for good

ARCHIVE_ID = "heed:archive:id"  # whose archive it is: the folder has the same
ARCHIVE_CHANGED = "heed:archive:changed"  # zset: conversation id by its changes that are not archived yet
ARCHIVED = "heed:archive:conversations"  # hash: conversation id -> place of its newest line
ARCHIVE_GONE = "heed:archive:gone"  # set: ids of deleted conversations whose texts are still in the archive
ARCHIVE_AT_REST = "heed:archive:at_rest"  # place up to which conversations at rest were taken out of Redis
ARCHIVE_ITEMS = "heed:archive:items"  # hash: key and field -> digest of the value that was archived
ARCHIVE_PASS = "heed:archive:pass"  # json {at, error}: how the last pass went
ARCHIVE_HEAD = "heed:archive:head"  # hash: series -> end of what was written

RESPONSES = "heed:responses"  # hash: id of an API response -> json, until it is too old for feedback
RESPONSE_ORDER = "heed:responses:order"  # list of "id milliseconds", oldest first
RESPONSE_BYTES = "heed:responses:bytes"  # how much they hold together
RESPONSES_RATED = "heed:responses:rated"  # hash: id -> 1 for those whose conversation was made

RUNS = "heed:runs"  # hash: id -> json
RUN_ORDER = "heed:runs:order"  # list, newest first
RUN_OPEN = "heed:runs:open"  # id of the run that is queued or running
RUN_REQUESTS = "heed:runs:requests"  # hash: account id -> json of the training that they wait for
RUN_TOKENS = "heed:runs:tokens"  # counter behind the fencing tokens
RUN_OPTIONS = "heed:runs:options"  # hash: person -> json, of their newest request

POLICIES = "heed:policies"  # hash: number -> json
POLICY_NUMBERS = "heed:policies:numbers"  # hash: run id -> number
POLICY_COUNTER = "heed:policies:counter"
POLICY_ACTIVE = "heed:policies:active"
POLICY_CANARY = "heed:policies:canary"  # json while one runs
POLICY_TIMELINE = "heed:policies:timeline"  # list of activations, newest first

ENGINE_MEMBERS = "heed:engines:members"  # hash: name -> json of an engine that joined at run time
ENGINES_DRAINING = "heed:engines:draining"  # set of names that get no new answers

SERVERS = "heed:servers"  # set of server ids that ever reported

WORKERS = "heed:workers"  # set of worker names that ever reported
LAST_TICK = "heed:schedule:tick"  # when the schedule was looked at last
SCHEDULE_OUTLOOK = "heed:schedule:outlook"  # json: what starts next, as the last tick saw it
START_RULES = "heed:schedule:rules"  # json: the rules that people changed, and when
SCHEDULE_PAUSED = "heed:schedule:paused"  # json {by, reason, at}; no training starts by itself

FEED = "heed:feed"  # stream: what the admin page shows live
AUDIT = "heed:audit"  # stream: append-only
AUDIT_SEALS = "heed:audit:seals"  # stream: under the id of each entry, its hash together with the seal before
AUDIT_HEAD = "heed:audit:head"  # hash of the newest seal

ACCOUNTS = "heed:accounts"  # hash: id -> json
ACCOUNT_NAMES = "heed:accounts:names"  # hash: lower-case name -> id
API_KEYS = "heed:keys"  # hash: sha256 of the secret -> json
API_KEYS_USED = "heed:keys:used"  # hash: key id -> when it was used last
INVITES = "heed:invites"  # hash: sha256 of the token -> json


def by_owner(owner_id: str) -> str:
    return f"heed:conversations:of:{owner_id}"  # zset: id by time of the last change


def nodes(conversation_id: str, kind: str) -> str:
    """Hash of a conversation's messages, answers or duels: id -> json."""
    return f"heed:conversation:{{{conversation_id}}}:{kind}"


def answer_stream(stream_id: str) -> str:
    return f"heed:stream:{stream_id}"


def generation(answer_id: str) -> str:
    return f"heed:generation:{answer_id}"  # who speaks it, with a TTL


def stop(answer_id: str) -> str:
    return f"heed:stop:{answer_id}"


def votes_of(annotator_id: str) -> str:
    return f"heed:votes:of:{annotator_id}"  # list of stream entry ids, newest first


def queue_seen(annotator_id: str) -> str:
    return f"heed:queue:seen:{annotator_id}"  # set: items that this annotator has judged or skipped


def queue_task(annotator_id: str) -> str:
    return f"heed:queue:task:{annotator_id}"  # duel id of the task under way


def queue_verdicts(annotator_id: str) -> str:
    return f"heed:queue:verdicts:{annotator_id}"  # hash: vote id -> json


def run_votes(run_id: str) -> str:
    return f"heed:run:{run_id}:votes"  # set: ids of the votes in the run's data set


def run_lease(run_id: str) -> str:
    return f"heed:run:{run_id}:lease"


def run_metrics(run_id: str) -> str:
    return f"heed:run:{run_id}:metrics"


def run_alerts(run_id: str) -> str:
    return f"heed:run:{run_id}:alerts"  # hash: alert id -> who has seen it, and when


def serving(server_id: str) -> str:
    return f"heed:serving:{server_id}"  # version number, with a TTL


def engines(server_id: str) -> str:
    return f"heed:engines:{server_id}"  # json list, with a TTL


def worker(name: str) -> str:
    return f"heed:worker:{name}"  # json, with a TTL


def canary_counts(number: int, began_ms: int) -> str:
    return f"heed:canary:{number}:{began_ms}:counts"  # hash: version:what -> answers, with a TTL


def canary_watch(number: int, began_ms: int) -> str:
    return f"heed:canary:{number}:{began_ms}:watch"  # json of the evidence so far, with a TTL


def lock(name: str) -> str:
    return f"heed:lock:{name}"


def session(digest: str) -> str:
    return f"heed:session:{digest}"


def sessions_of(account_id: str) -> str:
    return f"heed:sessions:of:{account_id}"  # set of digests; some may have ended


def budget(kind: str, person: str) -> str:
    return f"heed:budget:{kind}:{person}"  # when it is whole again, with a TTL


def attempts(name: str) -> str:
    return f"heed:attempts:{name}"
