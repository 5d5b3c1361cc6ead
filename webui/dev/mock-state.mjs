/** What the mock server remembers, and how it tells those who listen. Development only. */
import { GUIDELINES, RUNS, TIMELINE, VERSIONS } from "./mock-texts.mjs";
import { pastMetrics } from "./mock-training.mjs";

export const SPEED = Number(process.env.MOCK_SPEED ?? 1);
export const MIN_VOTES = 50;
export const empty = process.env.MOCK_EMPTY === "1";

export const db = {
  requests: [],
  token: "mock",
  account: null,
  signedIn: false,
  conversations: new Map(),
  trash: new Map(),
  duels: new Map(),
  answers: new Map(),
  streams: new Map(),
  votes: new Map(),
  guidelines: { newest: GUIDELINES, read_version: 1, read: null },
  pending: empty ? 0 : 12,
  total: empty ? 0 : 143,
  versions: empty ? [] : VERSIONS(),
  timeline: empty ? [] : TIMELINE(),
  runs: empty ? [] : RUNS(),
  metrics: new Map(),
  feed: [],
  watchers: new Set(),
  down: false,
};
for (const run of db.runs) db.metrics.set(run.id, pastMetrics(run.id, run.created_at));

export const now = () => new Date().toISOString();
let serial = 0;
export const newId = (kind) => `${kind}_${(++serial).toString(16).padStart(6, "0")}`;
let lastMs = 0;
let sequence = 0;
export function entryId() {
  const ms = Date.now();
  sequence = ms === lastMs ? sequence + 1 : 0;
  lastMs = ms;
  return `${ms}-${sequence}`;
}
export const wait = (ms) => new Promise((done) => setTimeout(done, ms / SPEED));

export class Refusal extends Error {
  constructor(status, kind, detail, field = null) {
    super(detail);
    Object.assign(this, { status, kind, field });
  }
}

export function sendEvent(response, { id, event, data }) {
  response.write(`id: ${id}\nevent: ${event}\nretry: 1000\ndata: ${JSON.stringify(data)}\n\n`);
}

/** Tells the admin page's feed. */
export function tell(event, data) {
  const entry = { id: entryId(), event, data: structuredClone(data) };
  db.feed.push(entry);
  for (const watcher of db.watchers) sendEvent(watcher, entry);
}
