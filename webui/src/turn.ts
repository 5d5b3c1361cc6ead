/** One turn as its events tell it: a pure reducer that takes replays and duplicates calmly. */
import type { Answer } from "./api";
import type { TurnEvent } from "./events";

export interface LiveAnswer {
  readonly text: string;
  readonly state: Answer["state"];
  readonly finish_reason: string | null;
  readonly error: string | null;
}

export interface LiveTurn {
  /** Id of the last event that was taken; older ones are replays. */
  readonly last: string | null;
  readonly answers: Readonly<Record<string, LiveAnswer>>;
  readonly ready: boolean;
  /** How many go first while the engines are busy; null once it is this turn's. */
  readonly ahead: number | null;
  readonly ended: boolean;
}

export const EMPTY_TURN: LiveTurn = { last: null, answers: {}, ready: false, ahead: null, ended: false };
const EMPTY_ANSWER: LiveAnswer = { text: "", state: "streaming", finish_reason: null, error: null };

/** Whether entry id `a` (`milliseconds-sequence`) comes after `b`. */
export function isAfter(a: string, b: string): boolean {
  const [aTime = "0", aSequence = "0"] = a.split("-");
  const [bTime = "0", bSequence = "0"] = b.split("-");
  return aTime === bTime ? Number(aSequence) > Number(bSequence) : Number(aTime) > Number(bTime);
}

function withAnswer(turn: LiveTurn, id: string, changes: Partial<LiveAnswer>): LiveTurn {
  const answer = { ...(turn.answers[id] ?? EMPTY_ANSWER), ...changes };
  return { ...turn, answers: { ...turn.answers, [id]: answer } };
}

/** The turn after one event. The same event twice, or any replay of older ones, changes nothing. */
export function reduceTurn(turn: LiveTurn, id: string, event: TurnEvent): LiveTurn {
  if (turn.last !== null && !isAfter(id, turn.last)) return turn;
  const seen = { ...turn, last: id };
  switch (event.type) {
    case "answer.start":
      return withAnswer(seen, event.answer_id, {});
    case "answer.delta": {
      const answer = turn.answers[event.answer_id] ?? EMPTY_ANSWER;
      if (answer.state !== "streaming") return seen;
      return withAnswer({ ...seen, ahead: null }, event.answer_id, { text: answer.text + event.text });
    }
    case "answer.end": {
      const { state, finish_reason, error } = event;
      return withAnswer(seen, event.answer_id, { state, finish_reason, error });
    }
    case "turn.waiting":
      return { ...seen, ahead: event.ahead };
    case "duel.ready":
      return { ...seen, ready: true };
    case "turn.end":
      return { ...seen, ended: true };
    default:
      return seen;
  }
}
