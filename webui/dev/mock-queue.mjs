/** The mock server's queue and My votes. Development only. */

import { db, empty, newId, now } from "./mock-state.mjs";
import { SHORT_A, SHORT_B } from "./mock-texts.mjs";

const PROMPTS = [
  "Why is the sky blue?",
  "Explain to a child how a rainbow comes about, in three sentences.",
  "Write a polite reminder about an unpaid invoice. It is thirty days late, the client is an old friend of the house, and we would like to keep it that way.",
];
const items = empty
  ? []
  : PROMPTS.map((prompt, index) => ({
      id: `item_${index}`,
      prompt,
      turns: 1,
      has_answers: true,
      gold: index === 2 ? "b" : null,
      overlap: 2,
      verdicts: index === 0 ? 1 : 0,
      source: index === 1 ? "conversation" : "upload",
      created_at: now(),
    }));
const queue = { task: null, done: empty ? 0 : 11, at: 0 };

function layOut(prompt) {
  const conversation = {
    id: newId("conv"), title: "", system_prompt: "Answer briefly.", leaf_id: null, created_at: now(), updated_at: now(), hidden: true,
  }; // biome-ignore format: a fixture
  const message = { id: newId("msg"), parent_id: null, text: prompt, created_at: now() };
  const duelId = newId("duel");
  const sides = ["a", "b"].map((side, index) => ({
    id: newId("ans"), parent_id: message.id, duel_id: duelId, side, state: "finished", text: [SHORT_A, SHORT_B][index], finish_reason: "stop",
    error: null, edited_from: null, withdrawn: false, created_at: now(), policy_version: 2 - index, stream: null, thumb: null, conversation: conversation.id,
  })); // biome-ignore format: a fixture
  for (const one of sides) db.answers.set(one.id, one);
  db.duels.set(duelId, {
    id: duelId, parent_id: message.id, answer_a: sides[0].id, answer_b: sides[1].id, ready: true, reason: null, vote: null, conversation: conversation.id,
  }); // biome-ignore format: a fixture
  db.conversations.set(conversation.id, { ...conversation, leaf_id: message.id, messages: [message] });
  return { conversation_id: conversation.id, duel_id: duelId, expires_at: now() };
}

function next() {
  if (queue.task && db.duels.get(queue.task.duel_id).vote) {
    queue.task = null;
    queue.done += 1;
  }
  if (!queue.task && queue.at < Math.min(2, items.length)) queue.task = layOut(items[queue.at++].prompt);
  const left = Math.max(0, Math.min(2, items.length) - queue.at + (queue.task ? 1 : 0));
  return {
    task: queue.task,
    done: queue.done,
    left,
    seconds: queue.done ? 14.2 : null,
    all_wanted: 40,
    all_done: 12 + queue.done,
  };
}

const past = empty ? [] : pastVotes();
function pastVotes() {
  const about = (id, version, position, more = {}) => ({
    answer_id: id,
    version,
    position,
    rank: null,
    tokens: 40,
    leak: null,
    ...more,
  });
  const vote = (more) => ({
    id: newId("vote"), kind: "duel", conversation_id: "conv_past", duel_id: "duel_past", answer_id: null, choice: "a", strength: 1,
    answers: [about("ans_1", 2, 1), about("ans_2", 1, 2)], tags: [], comment: null, blind: true, early: false, guideline_version: 2,
    status: "active", flags: [], exclusion: null, created_at: "2026-11-20T14:05:00Z", changed_at: null, changeable: false,
    prompt: PROMPTS[0], texts: [SHORT_A, SHORT_B], ...more,
  }); // biome-ignore format: a fixture
  const leak = "I am SmolLM2";
  return [
    vote({ changeable: true, strength: 2, created_at: now(), tags: ["accurate", "clear"], comment: "the second one forgets scattering" }),
    vote({
      choice: "b", status: "excluded", exclusion: { reason: `an answer named its model: ${leak}`, at: now() },
      answers: [about("ans_1", 2, 1), about("ans_2", 1, 2, { leak })], prompt: "Who are you?", texts: ["A helper.", `${leak}.`],
    }),
    vote({ kind: "ranking", choice: "ranked", duel_id: null, prompt: PROMPTS[1],
      answers: [about("ans_1", 2, 1, { rank: 2 }), about("ans_2", 2, 2, { rank: 1 }), about("ans_3", 1, 3, { rank: 2 })], texts: [SHORT_A, SHORT_B, SHORT_A] }),
    vote({ kind: "edit", choice: "edited", duel_id: null, answer_id: "ans_1", prompt: PROMPTS[2], texts: [SHORT_A, SHORT_B] }),
    vote({ kind: "thumb", choice: "down", duel_id: null, answer_id: "ans_1", answers: [about("ans_1", 2, 1)], texts: [SHORT_A], tags: ["incorrect"] }),
    vote({ choice: "tie", status: "undone" }),
    vote({ choice: "both_bad", prompt: null, texts: [null, null] }),
  ]; // biome-ignore format: a fixture
}

function mine(_, __, request) {
  const asked = new URL(request.url, "http://mock").searchParams;
  const chosen = past.filter((one) =>
    ["kind", "status"].every((name) => !asked.get(name) || one[name] === asked.get(name)),
  );
  return [200, { items: chosen, next: null, this_week: past.length }];
}

export const QUEUE_ROUTES = [
  ["POST", /^queue\/next$/, () => [200, next()]],
  ["POST", /^queue\/flags$/, () => [201, {}]],
  ["GET", /^queue$/, () => [200, { ...next(), task: null }]],
  [
    "POST",
    /^queue\/release$/,
    () => {
      queue.task = null;
      return [204];
    },
  ],
  [
    "GET",
    /^queue\/items$/,
    () => [
      200,
      {
        items,
        wanted: 40,
        done: 12 + queue.done,
        annotators: empty
          ? []
          : [
              {
                annotator_id: "acc_1",
                name: "Ada",
                verdicts: 11,
                gold_right: 3,
                gold: 3,
                repeats_same: 1,
                repeats: 1,
                seconds: 14.2,
              },
              {
                annotator_id: "acc_2",
                name: "Grace",
                verdicts: 41,
                gold_right: 5,
                gold: 7,
                repeats_same: 2,
                repeats: 3,
                seconds: 6.8,
              },
            ],
      },
    ],
  ],
  [
    "POST",
    /^queue\/items$/,
    (_, body) => {
      const lines = body.jsonl.split("\n").filter((line) => line.trim());
      for (const line of lines)
        items.unshift({
          ...items[0],
          id: newId("item"),
          prompt: JSON.parse(line).prompt,
          verdicts: 0,
          gold: null,
          overlap: body.overlap,
          source: "upload",
        });
      return [201, { added: lines.length, known: 0 }];
    },
  ],
  [
    "DELETE",
    /^queue\/items\/([^/]+)$/,
    ([id]) => {
      items.splice(
        items.findIndex((one) => one.id === id),
        1,
      );
      return [204];
    },
  ],
  ["GET", /^votes\/mine$/, mine],
  [
    "PUT",
    /^guidelines$/,
    (_, body) => {
      db.guidelines = {
        newest: { version: body.after + 1, text: body.text, by: "acc_1", at: now() },
        read_version: body.after + 1,
        read: null,
      };
      return [200, db.guidelines.newest];
    },
  ],
];
