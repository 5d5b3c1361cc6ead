/**
 * A stand-in for the server while the page is developed: it speaks the same HTTP and SSE from memory, with a
 * model that recites. It is no part of the product. `node dev/mock-api.mjs [port]`; MOCK_SPEED=5 hurries it,
 * MOCK_EMPTY=1 starts without a past. The set-up link is printed.
 */
import { createReadStream, existsSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { adminAccount, consoleRoutes } from "./mock-console.mjs";
import { CODE, RUNS, SHORT_A, SHORT_B, STORY, TIMELINE, VERSIONS } from "./mock-texts.mjs";
import { newRun, pastMetrics, play } from "./mock-training.mjs";

const PORT = Number(process.argv[2] ?? 8080);
const SPEED = Number(process.env.MOCK_SPEED ?? 1);
const DIST = fileURLToPath(new URL("../dist/", import.meta.url));
const CSP =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; " +
  "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };
const MIN_VOTES = 50;

const empty = process.env.MOCK_EMPTY === "1";
const db = {
  token: "mock",
  account: null,
  signedIn: false,
  conversations: new Map(),
  duels: new Map(),
  answers: new Map(),
  streams: new Map(),
  votes: new Map(),
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

const now = () => new Date().toISOString();
let serial = 0;
const newId = (kind) => `${kind}_${(++serial).toString(16).padStart(6, "0")}`;
let lastMs = 0;
let sequence = 0;
function entryId() {
  const ms = Date.now();
  sequence = ms === lastMs ? sequence + 1 : 0;
  lastMs = ms;
  return `${ms}-${sequence}`;
}
const wait = (ms) => new Promise((done) => setTimeout(done, ms / SPEED));
const active = () => db.versions.find((one) => one.state === "active") ?? null;
const openRun = () => db.runs.find((one) => one.state === "queued" || one.state === "running") ?? null;

class Refusal extends Error {
  constructor(status, kind, detail) {
    super(detail);
    Object.assign(this, { status, kind });
  }
}

function tell(event, data) {
  const entry = { id: entryId(), event, data: structuredClone(data) };
  db.feed.push(entry);
  for (const watcher of db.watchers) sendEvent(watcher, entry);
}

function sendEvent(response, { id, event, data }) {
  response.write(`id: ${id}\nevent: ${event}\nretry: 1000\ndata: ${JSON.stringify(data)}\n\n`);
}

/** Says the text in small pieces, as an engine would. */
async function speak(answers, stream, duel) {
  const append = (data) => {
    const entry = { id: entryId(), event: data.type, data };
    stream.events.push(entry);
    for (const response of stream.watchers) sendEvent(response, entry);
  };
  for (const answer of answers) append({ type: "answer.start", answer_id: answer.id, side: answer.side });
  await wait(500);
  const left = new Map(answers.map((one) => [one.id, one.script.match(/\S+\s*|\s+/g) ?? []]));
  while (answers.some((one) => one.state === "streaming")) {
    await wait(30);
    for (const answer of answers) {
      if (answer.state !== "streaming") continue;
      const words = left.get(answer.id).splice(0, 1);
      if (words.length) {
        answer.text += words.join("");
        append({ type: "answer.delta", answer_id: answer.id, text: words.join("") });
      }
      const broken = answer.breaks && answer.text.length > 60;
      if (!answer.stopping && !broken && left.get(answer.id).length) continue;
      answer.state = answer.stopping ? "stopped" : broken ? "failed" : "finished";
      answer.finish_reason = { stopped: "stopped", failed: "error", finished: "stop" }[answer.state];
      answer.error = broken ? "the model broke off; try again" : null;
    }
  }
  for (const { id, state, finish_reason, error } of answers)
    append({ type: "answer.end", answer_id: id, state, finish_reason, error });
  if (duel && answers.every((one) => one.state === "finished")) {
    duel.ready = true;
    append({ type: "duel.ready", duel_id: duel.id });
  }
  append({ type: "turn.end" });
  for (const response of stream.watchers) response.end();
  stream.ended = true;
}

function openTurn(conversation, message, mode) {
  const isDuel = mode !== "single";
  const streamId = newId("stream");
  const stream = { events: [], watchers: new Set(), ended: false };
  db.streams.set(streamId, stream);
  const duelId = isDuel ? newId("duel") : null;
  const lower = message.text.toLowerCase();
  const scripts = /python|code/.test(lower)
    ? [CODE, SHORT_B]
    : /remind|invoice/.test(lower)
      ? [STORY, SHORT_A]
      : [SHORT_A, SHORT_B];
  const answers = (isDuel ? ["a", "b"] : [null]).map((side, index) => ({
    id: newId("ans"),
    parent_id: message.id,
    duel_id: duelId,
    side,
    state: "streaming",
    text: "",
    finish_reason: null,
    error: null,
    created_at: now(),
    policy_version: isDuel && index === 0 ? 2 : 1,
    stream: `/api/v1/streams/${streamId}`,
    thumb: null,
    script: scripts[index],
    breaks: /fail/.test(lower) && index === (isDuel ? 1 : 0) && !message.failedOnce,
    conversation: conversation.id,
  }));
  if (/fail/.test(lower)) message.failedOnce = true;
  const duel = isDuel
    ? {
        id: duelId,
        parent_id: message.id,
        answer_a: answers[0].id,
        answer_b: answers[1].id,
        ready: false,
        vote: null,
        conversation: conversation.id,
      }
    : null;
  for (const answer of answers) db.answers.set(answer.id, answer);
  if (duel) db.duels.set(duel.id, duel);
  if (!isDuel) conversation.leaf_id = answers[0].id;
  void speak(answers, stream, duel);
  return {
    message: messageOut(message),
    answers: answers.map(answerOut),
    duel: duel && duelOut(duel),
    stream: `/api/v1/streams/${streamId}`,
  };
}

const messageOut = ({ id, parent_id, text, created_at }) => ({ id, parent_id, text, created_at });
const answerOut = ({ script, breaks, stopping, conversation, ...answer }) => {
  const hidden = answer.duel_id && !db.duels.get(answer.duel_id).vote;
  const streaming = answer.state === "streaming";
  return {
    ...answer,
    text: streaming ? "" : answer.text,
    stream: streaming ? answer.stream : null,
    policy_version: hidden ? null : answer.policy_version,
  };
};
const duelOut = ({ conversation, ...duel }) => ({
  ...duel,
  version_a: duel.vote ? db.answers.get(duel.answer_a).policy_version : null,
  version_b: duel.vote ? db.answers.get(duel.answer_b).policy_version : null,
});
const conversationOut = ({ messages, ...conversation }) => conversation;

function castVote(body, key) {
  if (db.down)
    throw new Refusal(503, "store_unavailable", "the store is away; nothing was counted or changed");
  if (db.votes.has(key)) return [200, db.votes.get(key)];
  let reveal = null;
  if (body.kind === "duel") {
    const duel = db.duels.get(body.duel_id);
    if (!duel) throw new Refusal(404, "not_found", "there is no such duel");
    if (duel.vote) throw new Refusal(409, "already_voted", "this duel is decided");
    if (!duel.ready) throw new Refusal(409, "not_votable", "both answers must be finished");
    duel.vote = { choice: body.choice };
    const { version_a, version_b } = duelOut(duel);
    reveal = { version_a, version_b };
    db.conversations.get(duel.conversation).leaf_id = body.choice === "b" ? duel.answer_b : duel.answer_a;
    db.total += 1;
    if (body.choice === "a" || body.choice === "b") db.pending += 1;
  } else db.answers.get(body.answer_id).thumb = body.choice;
  const vote = {
    id: newId("vote"),
    kind: body.kind,
    duel_id: body.duel_id ?? null,
    answer_id: body.answer_id ?? null,
    choice: body.choice,
    created_at: now(),
  };
  const counted = { vote, pending: db.pending, min_votes: MIN_VOTES, reveal };
  db.votes.set(key, counted);
  tell("vote", vote);
  return [201, counted];
}

function requestRun() {
  if (openRun()) throw new Refusal(409, "run_open", "a run is queued or running");
  const run = newRun(db.account.id);
  const metrics = [];
  db.runs.unshift(run);
  db.metrics.set(run.id, metrics);
  tell("run", run);
  void play(run, tell, metrics, SPEED).then((released) => {
    if (!released) return;
    db.pending = 0;
    const before = active();
    before.state = "retired";
    db.versions.push({
      ...structuredClone(before),
      number: 4,
      parent: 2,
      reward_model: 4,
      run_id: run.id,
      state: "active",
      created_at: now(),
    });
    db.timeline.unshift({ number: 4, previous: 2, actor: "release", reason: "the gate passed", at: now() });
    tell("policy", active());
  });
  return run;
}

function rollBack(reason) {
  const line = db.timeline[0];
  if (!line?.previous) throw new Refusal(409, "cannot_roll_back", "there is no earlier version");
  db.versions.find((one) => one.number === line.number).state = "rolled_back";
  db.versions.find((one) => one.number === line.previous).state = "active";
  const activation = {
    number: line.previous,
    previous: line.number,
    actor: db.account.id,
    reason,
    at: now(),
  };
  db.timeline.unshift(activation);
  tell("policy", active());
  return activation;
}

const previousNumber = () =>
  active() && db.timeline[0]?.previous && db.timeline[0].actor !== db.account?.id
    ? db.timeline[0].previous
    : null;

function status() {
  const seen_at = now();
  const engine = (name, version) => ({
    name,
    address: `${name}.sock`,
    state: "ready",
    version,
    in_flight: 0,
    error: null,
    seen_at,
  });
  return {
    active: active() && { number: active().number, since: db.timeline[0].at },
    previous: previousNumber(),
    serving: {},
    run: openRun(),
    warnings: [],
    canary: db.canary,
    paused: db.paused,
    engines: empty ? [] : [engine("engine-1", active()?.number ?? 1), engine("engine-2", 1)],
    votes: { total: db.total, pending: db.pending, min_votes: MIN_VOTES },
  };
}

function conversationOf(id) {
  const found = db.conversations.get(id);
  if (!found) throw new Refusal(404, "not_found", "there is no such conversation");
  return found;
}

function detail(conversation) {
  const mine = (one) => one.conversation === conversation.id;
  return {
    conversation: conversationOut(conversation),
    messages: conversation.messages.map(messageOut),
    answers: [...db.answers.values()].filter(mine).map(answerOut),
    duels: [...db.duels.values()].filter(mine).map(duelOut),
  };
}

const ROUTES = [
  ...consoleRoutes({ db, tell, Refusal }),
  ["GET", /^setup$/, () => [200, { needed: db.account === null }]],
  [
    "POST",
    /^setup$/,
    (_, body) => {
      if (db.account || body.token !== db.token)
        throw new Refusal(401, "wrong_credentials", "the link was used already");
      if (body.password.length < 12) throw new Refusal(422, "password_too_short", "at least 12 characters");
      db.account = adminAccount(body.name);
      db.signedIn = true;
      return [201, db.account];
    },
  ],
  [
    "POST",
    /^login$/,
    (_, body) => {
      if (db.account?.name !== body.name || body.password === "wrong password")
        throw new Refusal(401, "wrong_credentials", "no such account");
      db.signedIn = true;
      return [200, db.account];
    },
  ],
  [
    "POST",
    /^logout$/,
    () => {
      db.signedIn = false;
      return [204];
    },
  ],
  ["GET", /^me$/, () => [200, db.account]],
  [
    "GET",
    /^conversations$/,
    () => [200, { items: [...db.conversations.values()].map(conversationOut).reverse() }],
  ],
  [
    "POST",
    /^conversations$/,
    (_, body) => {
      const made = {
        id: newId("conv"),
        title: body.title ?? "",
        system_prompt: null,
        leaf_id: null,
        created_at: now(),
        updated_at: now(),
        messages: [],
      };
      db.conversations.set(made.id, made);
      return [201, conversationOut(made)];
    },
  ],
  ["GET", /^conversations\/([^/]+)$/, ([id]) => [200, detail(conversationOf(id))]],
  [
    "PATCH",
    /^conversations\/([^/]+)$/,
    ([id], body) => [200, conversationOut(Object.assign(conversationOf(id), body))],
  ],
  [
    "DELETE",
    /^conversations\/([^/]+)$/,
    ([id]) => {
      db.conversations.delete(id);
      return [204];
    },
  ],
  [
    "POST",
    /^conversations\/([^/]+)\/messages$/,
    ([id], body) => {
      const conversation = conversationOf(id);
      const message = {
        id: newId("msg"),
        parent_id: body.parent_id ?? null,
        text: body.text,
        created_at: now(),
      };
      conversation.messages.push(message);
      conversation.title ||= body.text.slice(0, 60);
      if (/away/.test(body.text))
        throw new Refusal(503, "engine_unavailable", "the model is not available right now");
      return [202, openTurn(conversation, message, body.mode)];
    },
  ],
  [
    "POST",
    /^conversations\/([^/]+)\/answers$/,
    ([id], body) => {
      const conversation = conversationOf(id);
      return [
        202,
        openTurn(
          conversation,
          conversation.messages.find((one) => one.id === body.parent_id),
          body.mode,
        ),
      ];
    },
  ],
  [
    "POST",
    /^answers\/([^/]+)\/stop$/,
    ([id]) => {
      db.answers.get(id).stopping = true;
      return [202, { status: "stopping" }];
    },
  ],
  ["POST", /^votes$/, (_, body, request) => castVote(body, request.headers["idempotency-key"])],
  ["GET", /^status$/, () => [200, status()]],
  ["GET", /^runs$/, () => [200, { items: db.runs }]],
  ["POST", /^runs$/, () => [201, requestRun()]],
  ["GET", /^runs\/([^/]+)$/, ([id]) => [200, db.runs.find((one) => one.id === id)]],
  ["GET", /^runs\/([^/]+)\/metrics$/, ([id]) => [200, { items: db.metrics.get(id) ?? [] }]],
  [
    "POST",
    /^runs\/([^/]+)\/cancel$/,
    ([id]) => {
      const run = db.runs.find((one) => one.id === id);
      run.cancel_requested = true;
      tell("run", run);
      return [202, run];
    },
  ],
  [
    "GET",
    /^policies$/,
    () => [
      200,
      {
        items: db.versions,
        active: active()?.number ?? null,
        previous: previousNumber(),
        canary: db.canary,
        timeline: db.timeline,
      },
    ],
  ],
  ["POST", /^policies\/rollback$/, (_, body) => [200, rollBack(body.reason)]],
  // Switches of the mock itself, for trying what happens when parts are away.
  [
    "POST",
    /^mock\/store$/,
    (_, body) => {
      db.down = body.down;
      return [204];
    },
  ],
  [
    "POST",
    /^mock\/cut$/,
    () => {
      for (const { watchers } of db.streams.values()) for (const response of watchers) response.destroy();
      for (const response of db.watchers) response.destroy();
      return [204];
    },
  ],
];
const OPEN = /^(setup|login$|mock|invites\/look)/;

function watch(request, response, url) {
  const after = request.headers["last-event-id"] ?? url.searchParams.get("after");
  const path = url.pathname.slice("/api/v1/".length);
  const stream =
    path === "events"
      ? { events: after ? db.feed : [], watchers: db.watchers }
      : db.streams.get(path.split("/")[1]);
  if (!stream) throw new Refusal(404, "not_found", "there is no such stream");
  response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-cache, no-transform" });
  response.write(": hello\n\n");
  const index = after ? stream.events.findIndex((one) => one.id === after) + 1 : 0;
  for (const entry of stream.events.slice(index)) sendEvent(response, entry);
  if (stream.ended) return response.end();
  stream.watchers.add(response);
  response.on("close", () => stream.watchers.delete(response));
}

function serveFile(pathname, response) {
  const wanted = join(DIST, normalize(pathname));
  const file =
    wanted.startsWith(DIST) && existsSync(wanted) && statSync(wanted).isFile()
      ? wanted
      : join(DIST, "index.html");
  response.writeHead(200, {
    "Content-Type": TYPES[extname(file)] ?? "application/octet-stream",
    "Content-Security-Policy": CSP,
  });
  createReadStream(file).pipe(response);
}

async function answer(request, response) {
  const url = new URL(request.url, "http://mock");
  if (!url.pathname.startsWith("/api/v1/")) return serveFile(url.pathname, response);
  const path = url.pathname.slice("/api/v1/".length);
  let text = "";
  for await (const chunk of request) text += chunk;
  try {
    if (!OPEN.test(path) && !db.signedIn) throw new Refusal(401, "signed_out", "sign in first");
    if (/^(events|streams\/.+)$/.test(path)) return watch(request, response, url);
    for (const [method, pattern, handle] of ROUTES) {
      const match = request.method === method && pattern.exec(path);
      if (!match) continue;
      const [code, body] = handle(match.slice(1), text ? JSON.parse(text) : {}, request);
      response.writeHead(code, { "Content-Type": "application/json" });
      return response.end(body === undefined ? "" : JSON.stringify(body));
    }
    throw new Refusal(404, "not_found", "there is no such route");
  } catch (error) {
    const { status = 500, kind = "internal", message } = error;
    if (status === 500) console.error(error);
    response.writeHead(status, { "Content-Type": "application/problem+json" });
    response.end(
      JSON.stringify({
        type: `urn:heed:${kind}`,
        title: kind,
        status,
        detail: message,
        field: null,
        remedy: null,
      }),
    );
  }
}

createServer((request, response) => void answer(request, response)).listen(PORT, "127.0.0.1", () =>
  console.log(`mock server: http://127.0.0.1:${PORT}/setup#token=${db.token}`),
);
