/** The mock server's conversations: a model that recites, duels, branches, search, files. Development only. */

import { db, entryId, newId, now, Refusal, sendEvent, wait } from "./mock-state.mjs";
import { CODE, LEAKING, MATH, SHORT_A, SHORT_B, STORY } from "./mock-texts.mjs";

/** Says the text in small pieces, as an engine would. */
async function speak(answers, stream, duel, ahead) {
  const append = (data) => {
    const entry = { id: entryId(), event: data.type, data };
    stream.events.push(entry);
    for (const response of stream.watchers) sendEvent(response, entry);
  };
  for (const answer of answers) append({ type: "answer.start", answer_id: answer.id, side: answer.side });
  for (let left = ahead; left > 0; left--) {
    append({ type: "turn.waiting", ahead: left });
    await wait(2500);
  }
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
      answer.error = broken ? answer.breaks : null;
      if (duel?.vote) append({ type: "answer.end", answer_id: answer.id, ...endOf(answer) });
    }
  }
  if (!duel?.vote)
    for (const answer of answers) append({ type: "answer.end", answer_id: answer.id, ...endOf(answer) });
  if (duel && answers.every((one) => one.state === "finished")) {
    duel.ready = true;
    append({ type: "duel.ready", duel_id: duel.id });
  }
  append({ type: "turn.end" });
  for (const response of stream.watchers) response.end();
  stream.ended = true;
}
const endOf = ({ state, finish_reason, error }) => ({ state, finish_reason, error });

const lines = (count, line) => Array.from({ length: count }, (_, at) => line(at + 1)).join("\n");
const LIST = lines(
  90,
  (n) => `${n}. The air scatters **short waves** more than long ones, so \`sky(${n})\` is blue.`,
);
const PROGRAM = `\`\`\`python\n${lines(160, (n) => `def step_${n}(value):\n    return [value + one for one in range(${n})]`)}\n\`\`\``;

function scriptsFor(text) {
  if (/long list/.test(text)) return [LIST, LIST];
  if (/long program/.test(text)) return [PROGRAM, PROGRAM];
  if (/very long/.test(text)) return [[STORY, CODE, MATH, SHORT_A], [SHORT_B, STORY, MATH, CODE]].map((parts) => `${parts.join("\n\n")}\n\n`.repeat(5)); // biome-ignore format: one rule a line
  if (/python|code/.test(text)) return [CODE, SHORT_B];
  if (/formula|sum/.test(text)) return [MATH, SHORT_A];
  if (/who are you/.test(text)) return [LEAKING, SHORT_A];
  if (/remind|invoice/.test(text)) return [STORY, SHORT_A];
  return [SHORT_A, SHORT_B];
}

export function openTurn(conversation, message, mode) {
  const isDuel = mode !== "single";
  const streamId = newId("stream");
  const stream = { events: [], watchers: new Set(), ended: false };
  db.streams.set(streamId, stream);
  const duelId = isDuel ? newId("duel") : null;
  const lower = message.text.toLowerCase();
  const scripts = scriptsFor(lower);
  const breaks = !message.failedOnce && /fail|restart/.exec(lower)?.[0];
  const said = {
    fail: "the model broke off; try again",
    restart: "the server that wrote this answer went away",
  };
  const answers = (isDuel ? ["a", "b"] : [null]).map((side, index) => ({
    id: newId("ans"),
    parent_id: message.id,
    duel_id: duelId,
    side,
    state: "streaming",
    text: "",
    finish_reason: null,
    error: null,
    edited_from: null,
    withdrawn: false,
    created_at: now(),
    policy_version: isDuel && index === 0 ? 2 : 1,
    stream: `/api/v1/streams/${streamId}`,
    thumb: null,
    script: scripts[index],
    breaks: index === (isDuel ? 1 : 0) ? said[breaks] : undefined,
    conversation: conversation.id,
  }));
  if (breaks) message.failedOnce = true;
  const duel = isDuel
    ? {
        id: duelId,
        parent_id: message.id,
        answer_a: answers[0].id,
        answer_b: answers[1].id,
        ready: false,
        reason: null,
        vote: null,
        conversation: conversation.id,
      }
    : null;
  for (const answer of answers) db.answers.set(answer.id, answer);
  if (duel) db.duels.set(duel.id, duel);
  conversation.leaf_id = isDuel ? message.id : answers[0].id;
  conversation.updated_at = now();
  void speak(answers, stream, duel, /busy/.test(lower) ? 2 : 0);
  return {
    message: messageOut(message),
    answers: answers.map(answerOut),
    duel: duel && duelOut(duel),
    stream: `/api/v1/streams/${streamId}`,
  };
}

const messageOut = ({ id, parent_id, text, created_at }) => ({ id, parent_id, text, created_at });
export const answerOut = ({ script, breaks, stopping, conversation, ...answer }) => {
  const hidden = answer.duel_id && !db.duels.get(answer.duel_id).vote;
  const streaming = answer.state === "streaming";
  return {
    ...answer,
    text: streaming ? "" : answer.text,
    stream: streaming ? answer.stream : null,
    policy_version: hidden ? null : answer.policy_version,
  };
};
export const duelOut = ({ conversation, ...duel }) => ({
  ...duel,
  version_a: duel.vote ? db.answers.get(duel.answer_a).policy_version : null,
  version_b: duel.vote ? db.answers.get(duel.answer_b).policy_version : null,
});
const conversationOut = ({ messages, ...conversation }) => conversation;

export function conversationOf(id) {
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

function open({ title = "", system_prompt = null }) {
  const made = {
    id: newId("conv"),
    title,
    system_prompt,
    leaf_id: null,
    created_at: now(),
    updated_at: now(),
    messages: [],
  };
  db.conversations.set(made.id, made);
  return made;
}

const newestFirst = () =>
  [...db.conversations.values()]
    .filter((one) => !one.hidden)
    .sort((a, b) => (a.updated_at < b.updated_at ? 1 : -1))
    .map(conversationOut);

function search(words) {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  const holds = (text) => wanted.every((word) => text.toLowerCase().includes(word));
  const items = newestFirst().flatMap((conversation) => {
    if (holds(conversation.title)) return [{ conversation, excerpt: null }];
    const { messages, answers } = detail(db.conversations.get(conversation.id));
    const found = [...messages, ...answers].find((one) => holds(one.text));
    return found ? [{ conversation, excerpt: found.text.replace(/\s+/g, " ").slice(0, 120) }] : [];
  });
  return { items, next: null, of: db.conversations.size };
}

function say(id, { text, parent_id = null, mode }) {
  const conversation = conversationOf(id);
  const message = { id: newId("msg"), parent_id, text, created_at: now() };
  conversation.messages.push(message);
  conversation.title ||= text.slice(0, 60);
  if (/away/.test(text)) throw new Refusal(503, "engine_unavailable", "the model is not available right now");
  return openTurn(conversation, message, mode);
}

function importOne(body) {
  if (!Array.isArray(body.messages) || body.messages[0]?.role !== "user")
    throw new Refusal(422, "not_importable", "this is no conversation that can be read");
  const made = open({ title: body.title ?? body.messages[0].content.slice(0, 60) });
  let parent = null;
  for (const { role, content } of body.messages) {
    const node = {
      id: newId(role === "user" ? "msg" : "ans"),
      parent_id: parent,
      text: content,
      created_at: now(),
    };
    if (role === "user") made.messages.push(node);
    else
      db.answers.set(node.id, {
        ...node,
        duel_id: null,
        side: null,
        state: "finished",
        finish_reason: "stop",
        error: null,
        edited_from: null,
        withdrawn: false,
        policy_version: null,
        stream: null,
        thumb: null,
        conversation: made.id,
      });
    parent = node.id;
    made.leaf_id = node.id;
  }
  return conversationOut(made);
}

export const CHAT_ROUTES = [
  ["GET", /^conversations$/, () => [200, { items: newestFirst(), more: false }]],
  ["POST", /^conversations$/, (_, body) => [201, conversationOut(open(body))]],
  ["POST", /^conversations\/import$/, (_, body) => [201, importOne(body)]],
  [
    "GET",
    /^search$/,
    (_, __, request) => [200, search(new URL(request.url, "http://mock").searchParams.get("q"))],
  ],
  ["GET", /^conversations\/([^/]+)$/, ([id]) => [200, detail(conversationOf(id))]],
  ["GET", /^conversations\/([^/]+)\/export$/, ([id]) => [200, detail(conversationOf(id))]],
  [
    "PATCH",
    /^conversations\/([^/]+)$/,
    ([id], body) => [200, conversationOut(Object.assign(conversationOf(id), body))],
  ],
  [
    "DELETE",
    /^conversations\/([^/]+)$/,
    ([id]) => {
      db.trash.set(id, conversationOf(id));
      db.conversations.delete(id);
      return [204];
    },
  ],
  [
    "POST",
    /^conversations\/([^/]+)\/restore$/,
    ([id]) => {
      db.conversations.set(id, db.trash.get(id));
      return [200, conversationOut(conversationOf(id))];
    },
  ],
  ["POST", /^conversations\/([^/]+)\/messages$/, ([id], body) => [202, say(id, body)]],
  [
    "POST",
    /^conversations\/([^/]+)\/answers$/,
    ([id], body) => {
      const conversation = conversationOf(id);
      const message = conversation.messages.find((one) => one.id === body.parent_id);
      return [202, openTurn(conversation, message, body.mode)];
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
];
