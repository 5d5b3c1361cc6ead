/** The mock server's votes: once each, undone, with reasons; rankings, ideal answers, guidelines. Development only. */
import { conversationOf, duelOut } from "./mock-chat.mjs";
import { db, MIN_VOTES, newId, now, Refusal, tell } from "./mock-state.mjs";

function voteOnDuel(body, vote) {
  const duel = db.duels.get(body.duel_id);
  if (!duel) throw new Refusal(404, "not_found", "there is no such duel");
  if (duel.vote) throw new Refusal(409, "already_voted", "this duel is decided");
  const sides = [db.answers.get(duel.answer_a), db.answers.get(duel.answer_b)];
  if (sides.some((one) => !["streaming", "finished"].includes(one.state)) && !duel.ready)
    throw new Refusal(409, "not_votable", "an answer did not finish");
  const loser = sides[body.choice === "b" ? 0 : 1];
  const early = sides.some((one) => one.state === "streaming");
  if (early && (body.choice === "a" || body.choice === "b")) loser.stopping = true;
  const leaking = sides.map((one) => /I am SmolLM2/.exec(one.script ?? "")?.[0] ?? null);
  vote.answers = sides.map((one, index) => ({
    answer_id: one.id,
    version: one.policy_version,
    position: index + 1,
    leak: leaking[index],
  }));
  const leak = leaking.find(Boolean) ?? null;
  duel.vote = {
    id: vote.id,
    choice: body.choice,
    strength: body.strength ?? 1,
    tags: [],
    comment: null,
    early,
    leak,
  };
  conversationOf(duel.conversation).leaf_id = body.choice === "b" ? duel.answer_b : duel.answer_a;
  db.total += 1;
  if (!leak && (body.choice === "a" || body.choice === "b")) db.pending += 1;
  const { version_a, version_b } = duelOut(duel);
  return { version_a, version_b };
}

function writeIdeal({ answer_id, text }) {
  const original = db.answers.get(answer_id);
  const edited = {
    ...original,
    id: newId("ans"),
    duel_id: null,
    side: null,
    text,
    edited_from: answer_id,
    withdrawn: false,
    thumb: null,
    created_at: now(),
  };
  db.answers.set(edited.id, edited);
  conversationOf(original.conversation).leaf_id = edited.id;
  db.pending += 1;
}

function castVote(body, key) {
  if (db.down)
    throw new Refusal(503, "store_unavailable", "the store is away; nothing was counted or changed");
  if (db.votes.has(key)) return [200, db.votes.get(key)];
  const vote = {
    id: newId("vote"),
    kind: body.kind,
    duel_id: body.duel_id ?? null,
    answer_id: body.answer_id ?? null,
    choice: body.choice ?? { ranking: "ranked", edit: "edited" }[body.kind],
    strength: body.strength ?? 1,
    answers: [],
    tags: [],
    comment: null,
    status: "active",
    changeable: true,
    created_at: now(),
  };
  let reveal = null;
  if (body.kind === "duel") reveal = voteOnDuel(body, vote);
  if (body.kind === "thumb") db.answers.get(body.answer_id).thumb = body.choice;
  if (body.kind === "ranking") {
    const best = db.answers.get(body.ranking[0][0]);
    conversationOf(best.conversation).leaf_id = best.id;
    db.pending += 1;
  }
  if (body.kind === "edit") writeIdeal(body);
  const counted = { vote, pending: db.pending, min_votes: MIN_VOTES, reveal };
  db.votes.set(key, counted);
  tell("vote", vote);
  return [201, counted];
}

function voteOf(id) {
  const found = [...db.votes.values()].find((one) => one.vote.id === id);
  if (!found || db.down)
    throw new Refusal(db.down ? 503 : 404, db.down ? "store_unavailable" : "not_found", "");
  return found;
}

function undo(id) {
  const { vote } = voteOf(id);
  vote.status = "undone";
  const duel = db.duels.get(vote.duel_id);
  if (duel) {
    duel.vote = null;
    duel.ready = true;
    conversationOf(duel.conversation).leaf_id = duel.parent_id;
    db.pending -= 1;
  }
  return [200, { vote, pending: db.pending, min_votes: MIN_VOTES, reveal: null }];
}

export const VOTE_ROUTES = [
  ["POST", /^votes$/, (_, body, request) => castVote(body, request.headers["idempotency-key"])],
  ["PATCH", /^votes\/([^/]+)$/, ([id], body) => [200, Object.assign(voteOf(id).vote, body)]],
  ["DELETE", /^votes\/([^/]+)$/, ([id]) => undo(id)],
  ["GET", /^guidelines$/, () => [200, db.guidelines]],
  [
    "POST",
    /^guidelines\/read$/,
    (_, body) => {
      db.guidelines.read_version = body.version;
      return [204];
    },
  ],
];
