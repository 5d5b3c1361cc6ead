/** The mock server's vote explorer, leaderboard, export and import. Development only. */
import { db, empty, now, Refusal } from "./mock-state.mjs";

const PROMPTS = [
  "Why is the sky blue?",
  "Write a short, friendly reminder about a late invoice, and keep it polite although it is the third one already.",
  "How do I drop repeats from a list in Python?",
  "Which three questions should I ask before I rent a flat?",
  "为什么天空是蓝色的？",
  "Explain photosynthesis to a ten-year-old.",
];
const ONE =
  "Sunlight is a mix of colours. The air scatters blue light the most, so the sky looks blue from every side.";
const OTHER =
  "Because of Rayleigh scattering. The air scatters short waves the most, so the sky looks blue, and red in the evening.";
const PEOPLE = ["ada", "bo", "chen", "dina", "emil"];
const DAY = 86_400_000;

let seed = 7;
const chance = () => {
  seed = (seed * 1103515245 + 12345) % 2147483648;
  return seed / 2147483648;
};
const pick = (list) => list[Math.floor(chance() * list.length)];

function newVote(number, total) {
  const kind = chance() < 0.85 ? "duel" : chance() < 0.7 ? "thumb" : "edit";
  const versions = kind === "duel" ? (chance() < 0.5 ? [3, 2] : [2, 1]) : [2];
  if (chance() < 0.5) versions.reverse();
  const outcome =
    kind === "duel"
      ? pick(["a", "a", "b", "b", "tie", "both_bad"])
      : kind === "thumb"
        ? pick(["up", "down"])
        : "edited";
  const margin = kind === "duel" ? Math.round((chance() * 4 - 1.6) * 100) / 100 : null;
  const decided = margin !== null && (outcome === "a" || outcome === "b");
  const prompt = pick(PROMPTS);
  return {
    id: `vote_${number.toString(16).padStart(6, "0")}`,
    at: new Date(Date.now() - ((total - number) / total) * 40 * DAY).toISOString(),
    annotator: pick(PEOPLE),
    conversation_id: `conv_${number}`,
    kind, outcome, strength: decided && chance() < 0.2 ? 2 : 1, prompt, versions, margin,
    reward_model: decided ? ((margin > 0) === (outcome === "a") ? "agree" : "disagree") : "unknown",
    shown_ms: 3000 + Math.floor(chance() * 40000),
    tags: chance() < 0.2 ? [pick(["incorrect", "too_long", "instructions_not_followed"])] : [],
    comment: chance() < 0.1 ? "The other one does not answer the question." : null,
    status: chance() < 0.04 ? "excluded" : "active",
    reason: null,
    flags: [chance() < 0.05 ? "leaked" : "blind", ...(chance() < 0.08 ? ["early"] : [])],
    script: /[一-鿿]/.test(prompt) ? "han" : "latin",
    guideline_version: chance() < 0.6 ? 2 : 1,
    used_in: number < total * 0.7 ? [2, 3] : [],
    review: null,
  }; // biome-ignore format: a record
}

const VOTES = (total) => Array.from({ length: total }, (_, number) => newVote(number, total)).reverse();

const FACETS = {
  kind: (one) => [one.kind],
  outcome: (one) => [one.outcome],
  strength: (one) => (one.strength === 2 ? ["much"] : []),
  version: (one) => one.versions.map((v) => `v${v}`),
  pair: (one) =>
    one.versions.length === 2 ? [`v${Math.max(...one.versions)}-v${Math.min(...one.versions)}`] : [],
  annotator: (one) => [one.annotator],
  tag: (one) => one.tags,
  guideline: (one) => [`${one.guideline_version}`],
  flag: (one) => one.flags,
  rm: (one) => [one.reward_model],
  status: (one) => [one.status],
  review: (one) => [one.review ? (one.review === one.outcome ? "agrees" : "differs") : "none"],
  used: (one) => (one.used_in.length ? one.used_in.map((v) => `v${v}`) : ["never"]),
  script: (one) => [one.script],
};

const tokens = (query) => query.match(/(?:[a-z]+:)?(?:"[^"]*"|\S+)/g) ?? [];

function fits(one, query) {
  const terms = {};
  for (const token of tokens(query)) {
    const [, key, value] = /^(?:([a-z]+):)?(.*)$/.exec(token);
    terms[key ?? ""] = [...(terms[key ?? ""] ?? []), value.replaceAll('"', "")];
  }
  return Object.entries(terms).every(([key, values]) => {
    if (key === "") return values.every((word) => one.prompt.toLowerCase().includes(word.toLowerCase()));
    if (key === "after") return one.at >= values[0];
    if (key === "before") return one.at < values[0];
    if (key === "margin") return Math.abs(one.margin ?? 0) >= Number(values[0].replace(">", ""));
    return FACETS[key]?.(one).some((value) => values.includes(value)) ?? false;
  });
}

function find(votes, search) {
  const query = search.get("q") ?? "";
  const all = votes.filter((one) => fits(one, query));
  const start = Number(search.get("cursor") ?? 0);
  const items = all.slice(start, start + 100);
  const facets = {};
  for (const [name, of] of Object.entries(FACETS)) {
    const counts = new Map();
    for (const one of all) for (const value of of(one)) counts.set(value, (counts.get(value) ?? 0) + 1);
    facets[name] = [...counts].map(([value, n]) => ({ value, votes: n })).sort((a, b) => b.votes - a.votes);
  }
  const first = Date.now() - 40 * DAY;
  const histogram = Array.from({ length: 41 }, (_, day) => {
    const [from, to] = [new Date(first + day * DAY), new Date(first + (day + 1) * DAY)].map((one) =>
      one.toISOString(),
    );
    return { start: from, end: to, votes: all.filter((one) => one.at >= from && one.at < to).length };
  });
  return {
    items,
    next: start + 100 < all.length ? start + 100 : null,
    total: all.length,
    of: votes.length,
    facets: start === 0 ? facets : null,
    histogram: start === 0 && all.length ? histogram : null,
  };
}

function detail(votes, row) {
  const two = row.kind !== "thumb";
  return {
    row,
    thread: [
      { role: "system", content: "You are a patient teacher. Answer in a few sentences." },
      { role: "user", content: row.prompt },
    ],
    answers: [ONE, OTHER].slice(0, two ? 2 : 1).map((text, index) => ({
      id: `ans_${index}`,
      position: index + 1,
      version: row.versions[index] ?? row.versions[0],
      text,
      tokens: 24 + index * 3,
      finish_reason: "stop",
      leak: row.flags.includes("leaked") && index === 0 ? "I am Heed" : null,
      rank: null,
      preferred: row.outcome === (index ? "b" : "a") || row.outcome === "up",
    })),
    changes: [
      { what: "cast", by: row.annotator, at: row.at, outcome: row.outcome, status: "active", reason: null },
      ...(row.status === "excluded"
        ? [
            {
              what: "exclude",
              by: "Ada",
              at: row.at,
              outcome: row.outcome,
              status: "excluded",
              reason: row.reason ?? "spam",
            },
          ]
        : []),
    ],
    others:
      row.kind === "duel"
        ? votes.filter((one) => one.kind === "duel" && one.prompt === row.prompt).slice(0, 2)
        : [],
    used_in: row.used_in.map((number) => ({
      number,
      state: number === 2 ? "active" : "rejected",
      run_id: "run_1",
    })),
    reviews: row.review ? [{ by: "Ada", choice: row.review, note: "", at: row.at }] : [],
  };
}

/** Excludes or restores what the body names; says what changes. */
function change(votes, body, from, to) {
  const chosen = votes.filter((one) => (body.ids ? body.ids.includes(one.id) : fits(one, body.q)));
  const changing = chosen.filter((one) => one.status === from);
  if (!body.dry_run)
    for (const one of changing) {
      one.status = to;
      one.reason = body.reason ? [body.reason, body.note].filter(Boolean).join(": ") : null;
    }
  return {
    votes: changing.length,
    annotators: [...new Set(changing.map((one) => one.annotator))].sort(),
    used_in: [...new Set(changing.flatMap((one) => one.used_in))].sort(),
    left: chosen.length - changing.length,
    ratings: body.dry_run && changing.length
      ? [
          { number: 1, before: 1000, after: 1000, n_before: 412, n_after: 412 - changing.length },
          { number: 2, before: 1063.1, after: 1048.7, n_before: 388, n_after: 388 - changing.length },
        ]
      : [], // biome-ignore format: numbers
    done: !body.dry_run,
  };
}

const pair = (a, b, wins_a, ties, wins_b, both_bad, low, high, annotators) => {
  const n = wins_a + ties + wins_b;
  return {
    a,
    b,
    wins_a,
    ties,
    wins_b,
    both_bad,
    rate: (wins_a + ties / 2) / n,
    low,
    high,
    n,
    annotators,
    interval: "wilson",
  };
};

function board(style) {
  const left_out = { undone: 4, excluded: 12, checks: 30, leaked: 9, open: 2, deleted: 0, skipped: 7 };
  if (empty)
    return {
      versions: [],
      style: [],
      pairs: [],
      counted: 0,
      left_out: { ...left_out, undone: 0, excluded: 0, checks: 0, leaked: 0, open: 0, skipped: 0 },
    };
  const less = style ? 18 : 0;
  const rating = (number, rating, low, high, n, best_rank, worst_rank) => ({
    number,
    rating,
    low,
    high,
    n,
    best_rank,
    worst_rank,
  });
  return {
    versions: [
      rating(3, 1108 - less, 1071 - less, 1149 - less, 412, 1, 2),
      rating(2, 1081 - less / 2, 1060, 1103, 1210, 1, 2),
      rating(1, 1000, 1000, 1000, 803, 3, 3),
      rating(4, null, null, null, 3, null, null),
    ],
    style: style
      ? [
          { element: "length", effect: 31, low: 22, high: 41 },
          { element: "headers", effect: -4, low: -12, high: 3 },
          { element: "lists", effect: 9, low: 1, high: 18 },
          { element: "bold", effect: 6, low: -2, high: 13 },
        ]
      : [],
    pairs: [
      pair(4, 3, 3, 0, 0, 0, 0.44, 1, 2),
      pair(3, 2, 218, 22, 172, 31, 0.507, 0.603, 44),
      pair(2, 1, 480, 60, 263, 52, 0.601, 0.669, 61),
    ],
    counted: 1215,
    left_out,
  };
}

function importReport(text, dry, name, tag) {
  const lines = text.split("\n").filter((line) => line.trim());
  const good = lines.flatMap((line) => {
    try {
      return [JSON.parse(line)];
    } catch {
      return [];
    }
  });
  const turn = (role, content) => [{ role, content: String(content) }];
  const kept = {
    id: "import_1",
    name,
    tag,
    pairs: good.length,
    shapes: { preference: good.length },
    sha256: "ab".repeat(32),
    in_use: true,
    created_at: new Date().toISOString(),
  };
  return {
    pairs: good.length,
    shapes: { preference: good.length },
    refused: lines.length - good.length,
    duplicates: 0,
    problems:
      lines.length > good.length
        ? [{ line: 2, field: null, message: "is not JSON: one object a line is needed" }]
        : [],
    preview: good.slice(0, 5).map((one) => ({
      prompt: turn("user", one.prompt),
      chosen: turn("assistant", one.chosen),
      rejected: turn("assistant", one.rejected),
    })),
    kept: dry ? null : kept,
  };
}

const past = empty ? [] : VOTES(4000);
const imports = [];
const searchOf = (request) => new URL(request.url, "http://mock").searchParams;
const pastVote = (id) => {
  const found = past.find((one) => one.id === id);
  if (!found) throw new Refusal(404, "not_found", "there is no such vote");
  return found;
};

export const EXPLORER_ROUTES = [
  ["GET", /^votes$/, (_, __, request) => [200, find(past, searchOf(request))]],
  ["GET", /^votes\/(vote_[^/]+)$/, ([id]) => [200, detail(past, pastVote(id))]],
  [
    "POST",
    /^votes\/(vote_[^/]+)\/reviews$/,
    ([id], body) => {
      pastVote(id).review = body.choice;
      return [201, { by: db.account.name, choice: body.choice, note: "", at: now() }];
    },
  ],
  ["POST", /^votes\/[^/]+\/queue$/, () => [201, {}]],
  ["POST", /^exclusions$/, (_, body) => [200, change(past, body, "active", "excluded")]],
  ["POST", /^restorations$/, (_, body) => [200, change(past, body, "excluded", "active")]],
  ["GET", /^leaderboard$/, (_, __, request) => [200, board(searchOf(request).get("style") === "true")]],
  ["GET", /^imports$/, () => [200, { items: imports }]],
  [
    "POST",
    /^imports$/,
    (_, text, request) => {
      const search = searchOf(request);
      const dry = search.get("dry_run") === "true";
      const report = importReport(text, dry, search.get("name"), search.get("tag"));
      if (report.kept) imports.unshift(report.kept);
      return [dry ? 200 : 201, report];
    },
  ],
];
