/** What the pages behind the dashboard ask, answered from memory. Development only. */

const MAY = ["annotate", "chat", "manage", "own", "release", "review", "train", "vote", "watch"];
export const adminAccount = (name) => ({ id: "acc_1", name, role: "admin", may: MAY });

const ago = (hours) => new Date(Date.now() - hours * 3600_000).toISOString();
const ahead = (hours) => ago(-hours);
const hex = (seed, length = 64) =>
  Array.from({ length }, (_, index) => ((seed * 31 + index * index * 7 + index) % 16).toString(16)).join("");

const PEOPLE = () => [
  person("acc_2", "Bea Lindqvist", "engineer", 2, 41, 3, 2),
  person("acc_3", "Chen Wei", "reviewer", 1, 512, 1, 0),
  person("acc_4", "Dimitra Papadopoulou-Anagnostopoulou", "annotator", 0, 1304, 0, 0, ago(30)),
  { ...person("acc_5", "Émile", "user", 1, 7, 0, 0), on_trial: true },
];
function person(id, name, role, sessions, votes, keys, days, disabled_at = null) {
  return { id, name, role, sessions, votes, keys, created_at: ago(24 * (days + 20)), disabled_at };
}
const INVITES = () => [
  { ...invite("inv_1", "annotator", "open", "for the summer school"), expires_at: ahead(60) },
  { ...invite("inv_2", "reviewer", "used", ""), used_by: "acc_3" },
  { ...invite("inv_3", "annotator", "open", ""), account_id: "acc_4", expires_at: ahead(20) },
];
function invite(id, role, state, note) {
  return {
    id,
    role,
    account_id: null,
    note,
    state,
    created_by: "acc_1",
    created_at: ago(12),
    expires_at: ago(-2),
    used_by: null,
  };
}
const KEYS = () => [
  {
    id: "key_1",
    account_id: "acc_1",
    label: "notebook",
    scopes: ["chat", "feedback"],
    ends: "x9Qa",
    created_at: ago(90),
    used_at: ago(0.1),
  },
  {
    id: "key_2",
    account_id: "acc_1",
    label: "prometheus",
    scopes: ["read"],
    ends: "0bZt",
    created_at: ago(400),
    used_at: ago(0.01),
  },
  {
    id: "key_3",
    account_id: "acc_2",
    label: "release script",
    scopes: ["read", "admin"],
    ends: "77fe",
    created_at: ago(30),
    used_at: null,
  },
];
const SESSIONS = () => [
  session("s1", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "127.0.0.1", true),
  session(
    "s2",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit Safari/605",
    "10.0.0.23",
    false,
  ),
];
function session(id, agent, address, current) {
  return { id, agent, address, current, created_at: ago(current ? 0.2 : 50), seen_at: ago(current ? 0 : 3) };
}
const AUDIT = () =>
  [
    ["acc_1", "rollback", "v2", "v3", "v2", "answers became too long"],
    ["acc_2", "train_now", "run_6f0c1d2e", null, null, null],
    ["acc_1", "role_changed", "acc_3", { role: "annotator" }, { role: "reviewer" }, null],
    [
      "acc_1",
      "invited",
      "inv_1",
      null,
      { role: "annotator", hours: 72, note: "for the summer school" },
      null,
    ],
    ["release", "canary_end", "v3", null, null, "the sequential test said worse"],
    ["release", "canary_start", "v3", null, null, "run_6f0c1d2e passed the gate"],
    ["acc_1", "account_disabled", "acc_4", null, null, null],
    ["acc_1", "key_created", "key_2", null, { label: "prometheus", scopes: ["read"] }, null],
    ["acc_1", "setup", "acc_1", null, { name: "Ada", role: "admin" }, null],
  ].map(([actor, action, object, before, after, reason], index) => ({
    id: `${Date.now() - index * 7_200_000}-0`,
    at: ago(index * 2 + 0.3),
    actor,
    actor_name: null,
    action,
    object,
    object_name: null,
    before,
    after,
    detail:
      action === "canary_start" ? { share: 0.1 } : action === "canary_end" ? { outcome: "rolled_back" } : {},
    reason,
    request_id: `req_${hex(index, 20)}`,
    hash: hex(index),
    previous_hash: hex(index + 1),
  }));

const SYSTEM = (db) => ({
  at: new Date().toISOString(),
  problems: [
    {
      kind: "no_train_worker",
      severity: "bad",
      what: "no worker is listening on queue train",
      fix: "python -m celery -A workers.app worker -Q train -c 1 -n train@%h",
    },
    {
      kind: "fsync_weak",
      severity: "warning",
      what: "Redis writes with appendfsync everysec: a power cut loses up to a second of votes",
      fix: "redis-cli CONFIG SET appendfsync always",
    },
  ],
  redis: {
    version: "8.2.1",
    uptime_s: 181_234,
    ping_ms: 0.21,
    clock_skew_s: 0.0004,
    appendonly: "yes",
    appendfsync: "everysec",
    maxmemory_policy: "noeviction",
    aof_write_ok: true,
    memory_bytes: 61_200_000,
    maxmemory_bytes: 2_147_483_648,
    aof_bytes: 18_400_000,
    clients: 21,
    blocked_clients: 4,
  },
  queues: { train: 0, control: 1 },
  workers: [{ name: "control@host", queues: ["control"], at: new Date().toISOString() }],
  last_tick: ago(0.001),
  engines: [
    {
      name: "engine-1",
      address: "unix:///data/run/engine-1.sock",
      state: "ready",
      version: 2,
      in_flight: 3,
      error: null,
      draining: false,
      device: "",
      seen_at: new Date().toISOString(),
    },
    {
      name: "engine-2",
      address: "unix:///data/run/engine-2.sock",
      state: "loading",
      version: null,
      in_flight: 0,
      error: null,
      draining: false,
      device: "",
      seen_at: new Date().toISOString(),
    },
  ],
  servers: [{ name: "host:8080", serves: db.versions.find((one) => one.state === "active")?.number ?? 1 }],
  answers: {
    window_s: 900, first_words: 131, first_word_p50_s: 0.412, first_word_p95_s: 1.93, ended: 131, failed: 1, waiting: 2,
    by_minute_p95_s: [0.9, 1.1, null, 0.8, 0.7, 1.2, 1.4, 1.1, 0.9, 1.0, 1.6, 1.9, 2.1, 1.7, 1.5],
  }, // biome-ignore format: numbers
  sse_clients: 3,
  disk: {
    folder: "/data",
    total_bytes: 512e9,
    free_bytes: 201e9,
    policies_bytes: 1.09e9,
    needed_bytes: 7.6e9,
  },
  machine: { cores: 8, load: 2.31, memory_bytes: 34e9, memory_free_bytes: 11e9 },
  versions: {
    python: "3.11.7",
    heed: "0.1.0",
    fastapi: "0.136.3",
    vllm: "0.32.0",
    torch: "2.13.0",
    "redis server": "8.2.1",
  },
});

const CARD = `---\nbase_model: SmolLM2-135M-Instruct\nlibrary_name: transformers\n---\n# Heed policy, version 3\n\nTrained by PPO-max from version 2 on 131 votes.\n\n| measure | value |\n| --- | --- |\n| reward | 0.91 |\n| KL | 8.1 |\n\n## Limits\n\nIt is small: facts are often wrong.\n`;

function detail(version) {
  const isBase = version.parent === null;
  return {
    version,
    run_id: version.run_id,
    requested_by: isBase ? null : "votes",
    snapshot: isBase
      ? null
      : {
          run_id: version.run_id,
          votes: 131,
          new_votes: 52,
          train_pairs: 117,
          held_out_pairs: 14,
          prompts: 256,
          through: "1-0",
          sha256: hex(version.number),
          created_at: version.created_at,
        },
    skipped: isBase ? {} : { tie: 11, "both bad": 6, "answer unfinished": 2 },
    settings: isBase
      ? []
      : [
          { name: "ppo.kl_coef", before: 0.05, after: 0.08 },
          { name: "rollout.max_new_tokens", before: 96, after: 128 },
        ],
    metrics: isBase
      ? []
      : [
          { name: "reward_mean", before: 0.42, after: 0.91 },
          { name: "ref_kl", before: 4.7, after: 8.1 },
          { name: "entropy", before: null, after: 1.87 },
        ],
    votes_added: isBase ? null : 52,
    votes_removed: isBase ? null : 3,
    tainted: version.number === 3 ? 4 : 0,
    files: [
      { name: "config.json", bytes: 861, sha256: hex(1) },
      { name: "model.safetensors", bytes: 269_060_552, sha256: hex(2) },
      { name: "tokenizer.json", bytes: 3_519_000, sha256: hex(3) },
      { name: "README.md", bytes: CARD.length, sha256: hex(4) },
    ],
    bytes: 272_580_413,
    card: CARD,
    files_error: null,
  };
}

const STATISTICS = {
  versions: [],
  pairs: [
    {
      a: 2,
      b: 1,
      wins_a: 61,
      ties: 9,
      wins_b: 38,
      both_bad: 4,
      rate: 0.606,
      low: 0.511,
      high: 0.694,
      n: 108,
      annotators: 7,
    },
    {
      a: 3,
      b: 2,
      wins_a: 12,
      ties: 3,
      wins_b: 21,
      both_bad: 1,
      rate: 0.375,
      low: 0.236,
      high: 0.537,
      n: 36,
      annotators: 4,
    },
  ],
  position: { left_share: 0.53, low: 0.46, high: 0.6, n: 211 },
  agreement: { alpha: 0.61, n: 48 },
  canary: {
    number: 3, against: 2, state: "undecided", e_value: 2.1, wins: 22, losses: 14, n: 36, needs: 140,
    guards: [
      { name: "failed", allowed: 2, canary_bad: 1, canary_n: 61, active_bad: 2, active_n: 240, e_value: 0.8, limit: 100 },
      { name: "slow", allowed: 2, canary_bad: 9, canary_n: 61, active_bad: 21, active_n: 240, e_value: 1.9, limit: 100 },
      { name: "thumbs_down", allowed: 2, canary_bad: 2, canary_n: 7, active_bad: 5, active_n: 31, e_value: 1.0, limit: 100 },
    ],
  }, // biome-ignore format: made up
};

const PROMPT = "Explain in two sentences why the sky is blue.";
const FIXED = [
  [
    "The sky is blue because of sunlight and the air, and there are many reasons for this to be considered in full.",
    "Hello neighbour, I hope you are well.",
  ],
  [
    "Air scatters blue light more than red light, so blue reaches us from everywhere.",
    "Hello neighbour, I hope you are well.",
  ],
  [
    "Air scatters blue light far more than red. So the whole sky looks blue.",
    "Hi! Could you turn the music down after ten? Thank you.",
  ],
  ["Air scatters blue light more. So the sky looks blue.", "Hi! Could you turn it down after ten? Thanks."],
].map((answers, index) => ({
  update: index * 5,
  answers: [
    "Explain in two sentences why the sky is blue.",
    "Write a short, friendly message to a neighbour who plays loud music at night.",
  ].map((prompt, row) => ({ prompt, answer: answers[row], tokens: 20, ended: index > 0 })),
}));
const SAMPLES = [
  ["The sky is blue because it is blue and the light is blue.", -0.61],
  ["The sky looks blue because air scatters blue light. It scatters it more than red light.", 0.12],
  [
    "Sunlight holds all colours, and air scatters the short blue waves most. That scattered blue light reaches us from everywhere.",
    0.84,
  ],
  [
    "Air scatters short blue waves of sunlight far more than long red ones, so blue comes from every direction. At sunset the path is longer, and red is left.",
    1.07,
  ],
];

/** The routes, on the mock's own memory. `Refusal` is how a route says no. */
export function consoleRoutes({ db, tell, Refusal }) {
  const store = {
    people: PEOPLE(),
    invites: INVITES(),
    keys: KEYS(),
    sessions: SESSIONS(),
    audit: AUDIT(),
    paused: null,
    seen: new Set(),
    stale: false,
  };
  db.canary = null;
  db.paused = null;
  const people = () => [person("acc_1", db.account?.name ?? "Ada", "admin", 2, 143, 2, 5), ...store.people];
  const nameOf = (id) => people().find((one) => one.id === id)?.name ?? null;
  const fresh = () => {
    if (store.stale)
      throw new Refusal(403, "confirm_password", "your last sign-in is more than ten minutes ago");
  };
  const made = (fields) => {
    const one = {
      ...invite(`inv_${store.invites.length + 1}`, "annotator", "open", ""),
      expires_at: ahead(72),
      ...fields,
    };
    store.invites.unshift(one);
    return [201, { ...one, token: hex(9, 43) }];
  };
  const version = (number) => db.versions.find((one) => one.number === Number(number));
  return [
    ["POST", /^login\/confirm$/, (_, body) => {
      if (body.password === "wrong password") throw new Refusal(401, "wrong_credentials", "the password is wrong");
      store.stale = false;
      return [204];
    }],
    ["POST", /^mock\/stale$/, () => { store.stale = true; return [204]; }],
    ["POST", /^password$/, () => [204]],
    ["GET", /^sessions$/, () => [200, { items: store.sessions }]],
    ["DELETE", /^sessions$/, () => { store.sessions = store.sessions.filter((one) => one.current); return [200, { revoked: 1 }]; }],
    ["DELETE", /^sessions\/(.+)$/, ([id]) => { store.sessions = store.sessions.filter((one) => one.id !== id); return [204]; }],
    ["GET", /^keys$/, (_, __, request) => [200, { items: /everybody/.test(request.url) ? store.keys : store.keys.filter((one) => one.account_id === "acc_1") }]],
    ["POST", /^keys$/, (_, body) => {
      const key = { id: `key_${store.keys.length + 1}`, account_id: "acc_1", label: body.label, scopes: body.scopes, ends: "f00d", created_at: ago(0), used_at: null };
      store.keys.unshift(key);
      return [201, { ...key, secret: `heed_sk_${hex(5, 39)}f00d` }];
    }],
    ["DELETE", /^keys\/(.+)$/, ([id]) => { store.keys = store.keys.filter((one) => one.id !== id); return [204]; }],
    ["GET", /^accounts$/, () => [200, { items: people() }]],
    ["PATCH", /^accounts\/(.+)$/, ([id], body) => {
      fresh();
      const one = store.people.find((other) => other.id === id);
      if (!one) throw new Refusal(409, "last_admin", "Ada is the only admin who can sign in");
      if (body.role) one.role = body.role;
      if (body.disabled != null) one.disabled_at = body.disabled ? ago(0) : null;
      if (body.admitted) one.on_trial = false;
      return [200, one];
    }],
    ["POST", /^accounts\/(.+)\/password-link$/, ([id]) => made({ account_id: id })],
    ["GET", /^invites$/, () => [200, { items: store.invites }]],
    ["POST", /^invites$/, (_, body) => { fresh(); return made({ role: body.role, note: body.note }); }],
    ["DELETE", /^invites\/(.+)$/, ([id]) => { store.invites.find((one) => one.id === id).state = "revoked"; return [204]; }],
    ["POST", /^invites\/look$/, (_, body) => {
      if (body.token !== "mock") throw new Refusal(410, "invite_gone", "this link was used already");
      return [200, { role: "reviewer", name: null, expires_at: ahead(20) }];
    }],
    ["GET", /^audit$/, (_, __, request) => {
      const wanted = new URL(request.url, "http://mock").searchParams;
      const items = store.audit
        .filter((one) => !wanted.get("actor") || one.actor === wanted.get("actor"))
        .filter((one) => !wanted.get("action") || one.action === wanted.get("action"))
        .filter((one) => !wanted.get("text") || JSON.stringify(one).includes(wanted.get("text")));
      return [200, { items: items.map((one) => ({ ...one, actor_name: nameOf(one.actor), object_name: nameOf(one.object) })), next: null }];
    }],
    ["GET", /^audit\/verify$/, () => [200, { entries: store.audit.length, broken_at: null, reason: null, head: store.audit[0].hash }]],
    ["GET", /^system$/, () => [200, SYSTEM(db)]],
    ["GET", /^statistics$/, () => [200, STATISTICS]],
    ["GET", /^policies\/history$/, () => [200, { canaries: [{ number: 3, share: 0.1, started_at: ago(30), ended_at: ago(22), outcome: "rolled_back", ended_by: "heed", reason: "worse: won 9 of 41 decisive votes", steps: [{ share: 0.1, at: ago(30), actor: "heed", reason: "passed the gate" }] }] }]],
    ["GET", /^policies\/(\d+)$/, ([number]) => [200, detail(version(number))]],
    ["GET", /^policies\/(\d+)\/samples$/, ([number]) => [200, { items: saidBy(Number(number)) }]],
    ["GET", /^policies\/(\d+)\/preflight$/, ([number]) => [200, {
      number: Number(number), state: version(number).state, ok: true, error: null, bytes: 272_580_413, checked_s: 0.42, warm_on: ["engine-2"], ready_engines: 2, in_flight: 3,
      leaves: db.versions.find((one) => one.state === "active")?.number ?? null, canary: db.canary,
    }]],
    ["POST", /^policies\/(\d+)\/promote$/, ([number], body) => {
      fresh();
      version(number).state = "canary";
      db.canary = { number: Number(number), share: body.share, started_at: ago(0), actor: "acc_1", reason: body.reason, before: "candidate" };
      tell("policy", version(number));
      return [200, { active: 2, canary: db.canary }];
    }],
    ["PUT", /^canary$/, (_, body) => { db.canary = { ...db.canary, share: body.share }; return [200, db.canary]; }],
    ["POST", /^canary\/end$/, () => { version(db.canary.number).state = "candidate"; db.canary = null; return [200, { active: 2, canary: null }]; }],
    ["GET", /^runs\/[^/]+\/log$/, () => [200, { stage: "ppo", text: "update 7 of 16\nValueError: the reward became NaN\n", cut: true }]],
    ["GET", /^runs\/[^/]+\/annotators$/, () => [200, { cap: 52, more_annotators: 0, annotators: [
      { name: "Chen Wei", votes: 61, share: 0.47, over_cap: 9, weight: 0.42, unknown: false }, { name: "Ada", votes: 41, share: 0.31, over_cap: 0, weight: 0.98, unknown: false },
      { name: "a person with a rather long name", votes: 29, share: 0.22, over_cap: 0, weight: 1, unknown: false },
    ] }]],
    ["GET", /^runs\/[^/]+\/samples$/, () => [200, { items: db.runs.length ? SAMPLES.map(([answer, score], index) => ({ update: index * 13 + 1, prompt: PROMPT, answer, tokens: answer.split(" ").length, ended: true, score })) : [], fixed: db.runs.length ? FIXED : [] }]],
    ["GET", /^runs\/[^/]+\/alerts$/, () => [200, { items: db.runs.length ? [
      alert("al_1", 24, "answers have 151 tokens, 92 at the start", store.seen), alert("al_2", 31, "KL 31.4 nats per answer is above 30", store.seen),
    ] : [] }]],
    ["POST", /^runs\/[^/]+\/alerts\/(.+)\/acknowledge$/, ([id]) => { store.seen.add(id); return [204]; }],
    ["POST", /^runs\/([^/]+)\/retry$/, ([id]) => [202, db.runs.find((one) => one.id === id)]],
    ["GET", /^schedule$/, () => [200, schedule(db)]],
    ["PATCH", /^schedule\/rules$/, (_, body) => {
      if (body.quiet_hours?.includes("22-6")) throw new Refusal(422, "invalid", "quiet_hours: `22-6` is no time of day; write it as `22:00-06:00`", "quiet_hours");
      Object.assign(db.rules, body);
      return [200, schedule(db)];
    }],
    ["DELETE", /^schedule\/rules$/, () => { db.rules = { ...IN_FILE }; return [200, schedule(db)]; }],
    ["DELETE", /^requests\/(\w+)$/, (id) => { db.requests = db.requests.filter((one) => one.id !== id); return [204]; }],
    ["GET", /^plan\/data$/, () => [200, {
      votes: 1318, train_pairs: 1240, held_out_pairs: 131, imported: 0, too_few: null, cap: 52, more_annotators: 14,
      left_out: { excluded: 12, "answer named its model": 3, duplicate: 5, "too quick": 7, "over the annotator's cap": 31 },
      annotators: [
        { name: "ann", votes: 83, share: 0.06, over_cap: 31, weight: 1, unknown: true }, { name: "bob", votes: 44, share: 0.03, over_cap: 0, weight: 1, unknown: false },
        { name: "eve", votes: 40, share: 0.03, over_cap: 0, weight: 0.24, unknown: false },
      ],
    }]],
    ["PUT", /^schedule\/pause$/, (_, body) => { db.paused = { actor: "acc_1", reason: body.reason, at: ago(0) }; return [200, db.paused]; }],
    ["DELETE", /^schedule\/pause$/, () => { db.paused = null; return [204]; }],
    ["POST", /^plan$/, (_, body) => {
      if (body.updates === 0) throw new Refusal(422, "bad_setting", "ppo.updates: Input should be greater than or equal to 1", "updates");
      return [200, {
      parent: db.versions.find((one) => one.state === "active")?.number ?? null, new_votes: { a: 7, b: 5, tie: 2, both_bad: 1, up: 4 }, new_pairs: 12, total_votes: db.total, total_pairs: 131,
      max_pairs: 2000, held_out_share: 0.1, rollout_prompts: 256, gate_prompts: 64,
      settings: { reward: { lr: 1e-5, epochs: 1 }, ppo: { preset: "ppo-max", updates: 16, rollouts: 32, kl_coef: 0.05, clip_range: 0.2 }, gate: { kl_limit: 20 } },
      estimate: [{ stage: "reward", seconds: 94 }, { stage: "ppo", seconds: 610 }, { stage: "gate", seconds: 71 }], blocked: null,
    }]; }],
  ]; // biome-ignore format: one route a line
}

/** What versions said to the gate's prompts; the first was asked with the second. */
const saidBy = (number) => [
  ["Explain in three sentences why the sky is blue.", [
    "The sky is blue because of the air. Light is scattered by the air. Blue light is scattered more than red light, so we see blue.",
    "Sunlight holds all colours. The air scatters blue light more than red light, so blue reaches the eye from every side. Near the horizon more of the blue is lost, which is why the evening is red.",
  ]],
  ["A train leaves at 14:35 and arrives at 16:10. How long does the journey take?", ["The journey takes 1 hour and 45 minutes.", "The journey takes 1 hour and 35 minutes."]],
  ["用两句话解释什么是强化学习。", ["强化学习是一种学习。", "强化学习让模型在尝试中得到奖励或惩罚。它由此学会选择得分更高的做法。"]],
].map(([prompt, answers]) => ({ prompt, answer: answers[number > 1 ? 1 : 0] })); // biome-ignore format: texts

/** The start rules of the file; two of those that hold are a person's. */
const IN_FILE = {
  min_votes: 80,
  every_hours: 24,
  calendar: null,
  quiet_hours: ["08:00-18:00"],
  time_zone: "Europe/Berlin",
  drift: 0.1,
};
const schedule = (db) => {
  db.rules ??= { ...IN_FILE, min_votes: 50, calendar: "0 2 * * 1-5" };
  const changed = Object.keys(IN_FILE).filter((name) => String(db.rules[name]) !== String(IN_FILE[name]));
  return {
    rules: db.rules, file: IN_FILE, changed: Object.fromEntries(changed.map((name) => [name, { by: "mira", at: ago(3) }])),
    pending: db.pending, oldest_waiting_at: ago(5), due_at: ahead(19), paused: db.paused,
    outlook: { next_at: ahead(7), because: "calendar", quiet_until: null, drift: { right: 22, n: 40, at_least: 0.61, e_value: 1.4 }, at: ago(0) },
    requests: db.requests,
  };
}; // biome-ignore format: a fixture

const alert = (id, step, text, seen) => ({
  id, stage: "ppo", step, text, stopped: false, acknowledged_by: seen.has(id) ? "acc_1" : null, acknowledged_at: seen.has(id) ? ago(0) : null,
}); // biome-ignore format: one alert a line
