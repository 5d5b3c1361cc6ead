/** The vote: by button or by key, open once both answers have said enough to be judged. */
import { useCallback, useEffect, useRef } from "react";
import type { Answer, Duel, DuelChoice, Strength } from "../../api";
import { wordsOf } from "../../diff";
import { type Action, capOf, useActions, useKeys, useKeysOff } from "../../keys";
import { givenVote, outbox, useSending } from "../../outbox";
import { useTexts } from "../../texts";
import { ProblemLine } from "../../ui/notice";
import { useAnswerNow } from "./answer";
import { setFollows, useFollows } from "./follow";

interface Props {
  duel: Duel;
  answers: readonly Answer[];
  ready: boolean;
  streaming: boolean;
  /** Both answers were on the screen: on a phone only one is at a time. */
  seen: boolean;
  diff: boolean;
  onDiff: () => void;
  onGuideline: () => void;
}

/** An answer can be judged before its end once it has said this much. */
const ENOUGH_WORDS = 20;
const saysEnough = (text: string) =>
  wordsOf(text.slice(0, 600)).filter((word) => word.trim()).length >= ENOUGH_WORDS;

/** Whether the focus may be taken: it is nowhere, or in a composer that holds no words. */
function isFree(active: Element | null): boolean {
  if (!active || active === document.body) return true;
  return active instanceof HTMLTextAreaElement && active.id === "composer" && !active.value;
}

/** Whether both sides are still being written but have said enough: a vote then stops the loser. */
function useEarly(duel: Duel, answers: readonly Answer[], streaming: boolean): boolean {
  const a = useAnswerNow(answers.find((one) => one.id === duel.answer_a));
  const b = useAnswerNow(answers.find((one) => one.id === duel.answer_b));
  return streaming && [a, b].every((one) => /streaming|finished/.test(one.state) && saysEnough(one.text));
}

export function VoteBar({ duel, answers, ready, streaming, seen, diff, onDiff, onGuideline }: Props) {
  const texts = useTexts();
  const keys = useKeys();
  const keysOff = useKeysOff();
  const follows = useFollows();
  const sending = useSending(duel.id);
  const group = useRef<HTMLDivElement>(null);
  const shownAt = useRef(0);
  const early = useEarly(duel, answers, streaming);
  const refused = sending?.state === "refused" ? sending.problem : null;
  const undecided = sending?.state === "undone" || (!duel.vote && !givenVote(sending));
  const open = (ready || early) && seen && undecided;

  const vote = useCallback(
    (choice: DuelChoice, strength: Strength = 1) => {
      const shown_ms = Math.round(performance.now() - shownAt.current);
      outbox.cast({ kind: "duel", duel_id: duel.id, choice, strength, shown_ms });
      document.getElementById("composer")?.focus();
    },
    [duel.id],
  );
  useEffect(() => {
    if (open) shownAt.current = performance.now();
  }, [open]);
  useEffect(() => {
    if (ready && open && isFree(document.activeElement)) group.current?.focus();
  }, [ready, open]);

  const isShown = undecided && (ready || streaming);
  const when = (run: () => void) => (open ? run : undefined);
  useActions({
    voteA: when(() => vote("a")),
    voteB: when(() => vote("b")),
    voteTie: when(() => vote("tie")),
    voteBothBad: when(() => vote("both_bad")),
    voteMuchA: when(() => vote("a", 2)),
    voteMuchB: when(() => vote("b", 2)),
    voteSkip: when(() => vote("skip")),
    diff: isShown ? onDiff : undefined,
  });
  if (!isShown) return null;

  const hint =
    !seen && (ready || early)
      ? texts.duel.seeBoth
      : early
        ? texts.duel.early
        : streaming
          ? texts.duel.wait
          : texts.duel.which;
  const cap = (action: Action) => (
    <span className="key max-[760px]:hidden" aria-hidden="true">
      {capOf(keys[action])}
    </span>
  );
  const button = (action: Action, run: () => void, label: string, short: string) => (
    <button
      type="button"
      className="vote-btn btn"
      disabled={!open}
      onClick={run}
      aria-keyshortcuts={keys[action]}
    >
      {cap(action)}
      <span className="max-[760px]:sr-only">{label}</span>
      <span className="min-[761px]:hidden" aria-hidden="true">
        {short}
      </span>
    </button>
  );
  const small = (
    action: Action,
    run: () => void,
    label: string,
    options: { always?: boolean; pressed?: boolean; wide?: boolean } = {},
  ) => (
    <button
      type="button"
      className={`vote-small ${options.wide ? "max-[760px]:hidden" : ""}`}
      disabled={!options.always && !open}
      aria-pressed={options.pressed}
      aria-keyshortcuts={keys[action]}
      onClick={run}
    >
      {cap(action)}
      {label}
    </button>
  );
  return (
    <div className="mx-auto mb-2 w-full max-w-300">
      {refused && (
        <div className="mb-2">
          <ProblemLine error={refused} />
        </div>
      )}
      <div
        ref={group}
        role="group"
        tabIndex={-1}
        aria-label={texts.duel.which}
        data-testid="vote-bar"
        data-open={open}
        data-ready={ready}
        className={`rounded-xl border p-2 ${open ? "border-turn bg-turn-soft" : "border-line bg-sunken"}`}
      >
        <p className={`mb-1.5 px-1 text-[0.92rem] font-medium ${open ? "text-turn" : "text-muted"}`}>
          {hint}
        </p>
        <div className="flex gap-2 max-[760px]:gap-1.5">
          {button("voteA", () => vote("a"), texts.duel.a, texts.chat.answerN(1))}
          {button("voteTie", () => vote("tie"), texts.duel.tie, texts.duel.tie)}
          {button("voteBothBad", () => vote("both_bad"), texts.duel.both_bad, texts.duel.both_bad)}
          {button("voteB", () => vote("b"), texts.duel.b, texts.chat.answerN(2))}
        </div>
        <div className="mt-1 flex flex-wrap items-center gap-x-1 gap-y-0.5">
          {small("voteMuchA", () => vote("a", 2), texts.duel.muchA)}
          {small("voteMuchB", () => vote("b", 2), texts.duel.muchB)}
          {small("voteSkip", () => vote("skip"), texts.duel.skip)}
          <span className="flex-1" />
          {small("follow", () => setFollows(!follows), texts.duel.follow, {
            always: true,
            pressed: follows,
            wide: true,
          })}
          {small("diff", onDiff, texts.duel.diff, { always: true, pressed: diff })}
          {small("guideline", onGuideline, texts.guideline.open, { always: true })}
        </div>
      </div>
      <p role="status" className="sr-only">
        {ready &&
          open &&
          (keysOff
            ? texts.duel.readyNoKeys
            : texts.duel.ready(keys.voteA, keys.voteB, keys.voteTie, keys.voteBothBad))}
      </p>
    </div>
  );
}
