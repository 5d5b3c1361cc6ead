/** The tree of a conversation, seen as the one branch that is shown. */
import type { Answer, Detail, Duel, Message } from "./api";

/** What one message got at one time: a single answer or a duel's two. */
export interface Attempt {
  key: string;
  answers: Answer[];
  duel: Duel | null;
}

export interface ShownTurn {
  message: Message;
  /** The messages that were said in this place, this one among them: edits of one another. */
  edits: Message[];
  attempts: Attempt[];
  /** Index of the attempt that is shown; -1 when the message has no answer. */
  shown: number;
  /** The answer that the branch goes on from; null while a duel waits for its vote. */
  chosen: Answer | null;
}

const byTime = (a: { created_at: string }, b: { created_at: string }) =>
  a.created_at < b.created_at ? -1 : a.created_at > b.created_at ? 1 : 0;

function attemptsOf(message: Message, detail: Detail): Attempt[] {
  const attempts = new Map<string, Attempt>();
  for (const answer of detail.answers.filter((one) => one.parent_id === message.id).sort(byTime)) {
    const key = answer.duel_id ?? answer.id;
    const duel = detail.duels.find((one) => one.id === answer.duel_id) ?? null;
    const attempt = attempts.get(key) ?? { key, answers: [], duel };
    attempt.answers.push(answer);
    attempts.set(key, attempt);
  }
  for (const { answers } of attempts.values())
    answers.sort((a, b) => (a.side ?? "").localeCompare(b.side ?? ""));
  return [...attempts.values()];
}

/** The answer that a duel's vote made the assistant's message. */
export function winnerOf(duel: Duel): string | null {
  if (duel.vote?.choice === "a") return duel.answer_a;
  if (duel.vote?.choice === "b") return duel.answer_b;
  return null;
}

/** Ids of the messages and answers from the root to the leaf. */
function pathTo(leaf: string | null, detail: Detail): Set<string> {
  const parents = new Map<string, string | null>(
    [...detail.messages, ...detail.answers].map((node) => [node.id, node.parent_id]),
  );
  const path = new Set<string>();
  for (let id = leaf; id && parents.has(id) && !path.has(id); id = parents.get(id) ?? null) path.add(id);
  return path;
}

function chosenOf(attempt: Attempt | undefined, path: Set<string>): Answer | null {
  if (!attempt) return null;
  const onPath = attempt.answers.find((answer) => path.has(answer.id));
  if (onPath) return onPath;
  if (!attempt.duel) return attempt.answers[0] ?? null;
  const winner = winnerOf(attempt.duel);
  return attempt.answers.find((answer) => answer.id === winner) ?? null;
}

/** The turns from the first message through the leaf and on to the newest below it. */
export function shownTurns(detail: Detail): ShownTurn[] {
  const path = pathTo(detail.conversation.leaf_id, detail);
  const turns: ShownTurn[] = [];
  let parent: string | null = null;
  for (;;) {
    const messages = detail.messages.filter((one) => one.parent_id === parent).sort(byTime);
    const message = messages.find((one) => path.has(one.id)) ?? messages.at(-1);
    if (!message) return turns;
    const attempts = attemptsOf(message, detail);
    const onPath = attempts.findIndex((one) => one.answers.some((answer) => path.has(answer.id)));
    const newest = attempts.length - 1;
    // An attempt under way, or a duel that still waits for its vote, is what the person came for.
    const last = attempts[newest];
    const waits = last?.answers.some((one) => one.state === "streaming") || (last?.duel && !last.duel.vote);
    const goesOn = detail.messages.some((one) => last?.answers.some((answer) => answer.id === one.parent_id));
    const shown = onPath < 0 || (waits && !isDeeper(message, path, detail) && !goesOn) ? newest : onPath;
    const chosen = chosenOf(attempts[shown], path);
    turns.push({ message, edits: messages, attempts, shown, chosen });
    if (!chosen) return turns;
    parent = chosen.id;
  }
}

/** The newest end of the branches below a message: what to show when the person turns to it. */
export function leafBelow(message: Message, detail: Detail): string {
  let leaf = message.id;
  for (let next: Message | undefined = message; next; ) {
    const answers: Answer[] = attemptsOf(next, detail).flatMap((one) => one.answers);
    const ids = new Set(answers.map((one) => one.id));
    const newest: Message | undefined = detail.messages
      .filter((one) => one.parent_id !== null && ids.has(one.parent_id))
      .sort(byTime)
      .at(-1);
    const last = attemptsOf(next, detail).at(-1);
    const end = last && (last.duel ? winnerOf(last.duel) : last.answers[0]?.id);
    leaf = newest?.parent_id ?? end ?? next.id;
    next = newest;
  }
  return leaf;
}

/** The answers to a message that can be ranked: ended, with words, and no duel among them undecided. */
export function rankable(turn: ShownTurn): Answer[] {
  return turn.attempts
    .filter((one) => !one.duel || one.duel.vote)
    .flatMap((one) => one.answers)
    .filter((one) => one.text !== "" && (one.state === "finished" || one.state === "stopped"));
}

/** Whether the branch goes on below this message's answers. */
function isDeeper(message: Message, path: Set<string>, detail: Detail): boolean {
  const answers = detail.answers.filter((one) => one.parent_id === message.id && path.has(one.id));
  return detail.messages.some((one) => answers.some((answer) => answer.id === one.parent_id));
}
