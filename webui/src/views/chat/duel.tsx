/** A duel: two equal cards, blind until the vote; then the winner goes on and the loser folds. */
import { type TouchEvent, useEffect, useRef, useState } from "react";
import type { Answer, Duel, DuelChoice } from "../../api";
import type { Attempt, ShownTurn } from "../../branch";
import { onlyHere } from "../../diff";
import { givenVote, useSending } from "../../outbox";
import { useTexts } from "../../texts";
import { CopyButton } from "../../ui/copy";
import { Icon } from "../../ui/icons";
import { PHONE, useMedia } from "../../ui/media";
import { RetryButton, type TurnActions } from "./actions";
import { AnswerBody, type AnswerNow, AnswerTools, isInterrupted, ResumeButton, useAnswerNow } from "./answer";
import { AttemptPager } from "./pager";
import { SideTabs } from "./side-tabs";
import { Verdict } from "./verdict";

interface Props {
  attempt: Attempt;
  duel: Duel;
  turn: ShownTurn;
  isLast: boolean;
  /** Marks what only one side says. */
  diff: boolean;
  actions: TurnActions;
}

const SIDES = [1, 2] as const;
const SWIPE_PX = 48;

export function DuelCards({ attempt, duel, turn, isLast, diff, actions }: Props) {
  const texts = useTexts();
  const phone = useMedia(PHONE);
  const sides = [
    attempt.answers.find((one) => one.id === duel.answer_a),
    attempt.answers.find((one) => one.id === duel.answer_b),
  ] as const;
  const now = [useAnswerNow(sides[0]), useAnswerNow(sides[1])] as const;
  const choice = useChoice(duel);
  const decided = choice === "a" || choice === "b";
  const [tab, setTab] = useState<1 | 2>(1);
  const [visited, setVisited] = useState(false);
  const { seenBoth } = actions;
  // biome-ignore lint/correctness/useExhaustiveDependencies: told once for each duel
  useEffect(() => {
    if (!phone || visited) seenBoth(duel.id);
  }, [phone, visited, duel.id]);
  const show = (side: 1 | 2) => {
    setTab(side);
    if (side === 2) setVisited(true);
  };
  const swipe = useSwipe((to) => show(to === "left" ? 2 : 1));

  // The first words of both sides appear together: speed must not tell the versions apart.
  const veiled = !choice && !now.every((one) => one.text || one.state !== "streaming");
  // Told by what was fetched: between the last word and `duel.ready` an event may still be on its way.
  const failed = !choice && !duel.ready && sides.every((one) => one?.state !== "streaming");
  const broken = failed ? [0, 1].find((side) => isInterrupted(now[side] ?? now[0])) : undefined;
  const answer = broken === undefined ? undefined : sides[broken];
  const toResume = answer && { answer, now: now[broken ?? 0] ?? now[0] };
  const card = (side: 1 | 2) => (
    <Card
      key={side}
      side={side}
      answer={sides[side - 1]}
      now={now[side - 1] ?? now[0]}
      other={diff && !choice && !failed ? now[2 - side]?.text : undefined}
      veiled={veiled}
      choice={choice}
      turn={turn}
      isLast={isLast}
      isCurrent={turn.chosen?.id === sides[side - 1]?.id}
      canGoOn={isLast && (failed || choice === "tie" || choice === "both_bad" || choice === "skip")}
      actions={actions}
      hidden={phone && !choice && tab !== side}
    />
  );
  return (
    <div
      className={`mx-auto flex w-full flex-col gap-3 ${decided ? "max-w-190" : "max-w-300"}`}
      data-testid="duel"
      data-duel={duel.id}
    >
      {phone && !choice && <SideTabs shown={tab} show={show} visited={visited} />}
      <div
        className={`grid items-start gap-3 ${decided ? "" : "md:grid-cols-2"}`}
        {...(phone && !choice ? swipe : {})}
      >
        {choice === "b" ? [card(2), card(1)] : SIDES.map(card)}
      </div>
      <Verdict
        duel={duel}
        choice={choice}
        isLast={isLast}
        onIdeal={() => sides[0] && actions.ideal(sides[0])}
      />
      {failed && isLast && (
        <div className="flex flex-wrap items-center gap-3">
          <p className="text-muted">{texts.duel.notCounted}</p>
          {toResume && <ResumeButton answer={toResume.answer} now={toResume.now} actions={actions} />}
          <RetryButton turn={turn} actions={actions} />
        </div>
      )}
      {!choice && turn.attempts.length > 1 && (
        <div>
          <AttemptPager turn={turn} isLast={isLast} actions={actions} />
        </div>
      )}
    </div>
  );
}

/** What was chosen, by what this page knows or the server says; null while the duel is open. */
export function useChoice(duel: Duel): DuelChoice | null {
  const sending = useSending(duel.id);
  if (sending?.state === "undone") return null;
  const given = givenVote(sending);
  if (given?.kind === "duel") return given.choice;
  return duel.vote?.choice ?? null;
}

/** Tells a swipe to the side from a scroll. */
function useSwipe(onSwipe: (to: "left" | "right") => void) {
  const start = useRef<{ x: number; y: number } | null>(null);
  return {
    onTouchStart: (event: TouchEvent) => {
      const touch = event.touches[0];
      start.current = touch && event.touches.length === 1 ? { x: touch.clientX, y: touch.clientY } : null;
    },
    onTouchEnd: (event: TouchEvent) => {
      const touch = event.changedTouches[0];
      if (!start.current || !touch) return;
      const x = touch.clientX - start.current.x;
      const y = touch.clientY - start.current.y;
      if (Math.abs(x) > SWIPE_PX && Math.abs(x) > 2 * Math.abs(y)) onSwipe(x < 0 ? "left" : "right");
    },
  };
}

interface CardProps {
  side: 1 | 2;
  answer: Answer | undefined;
  now: AnswerNow;
  /** The other side's text, when what only this side says is to be marked. */
  other: string | undefined;
  veiled: boolean;
  choice: DuelChoice | null;
  turn: ShownTurn;
  isLast: boolean;
  isCurrent: boolean;
  canGoOn: boolean;
  actions: TurnActions;
  hidden: boolean;
}

function Card(props: CardProps) {
  const { side, answer, now, other, veiled, choice, turn, isLast, isCurrent, canGoOn, actions, hidden } =
    props;
  const texts = useTexts();
  const won = choice === (side === 1 ? "a" : "b");
  const lost = (choice === "a" || choice === "b") && !won;
  const [open, setOpen] = useState(false);
  const folded = lost && !open;
  const ended = now.state !== "streaming";
  return (
    <article
      id={`side-${side}`}
      aria-label={texts.chat.answerN(side)}
      aria-busy={!ended}
      hidden={hidden}
      data-testid={`answer-${side}`}
      data-state={now.state}
      className={`card flex min-w-0 flex-col ${hidden ? "hidden" : ""} ${won ? "border-accent" : ""} ${lost ? "bg-transparent" : ""}`}
    >
      <header className="flex min-h-11 items-center gap-2 border-b border-line py-1 pr-2 pl-4">
        <h3 className="text-[0.93rem] font-semibold">{texts.chat.answerN(side)}</h3>
        {won && (
          <span className="chip chip-good arrive">
            <Icon name="check" className="size-3.5" />
            {texts.duel.chosen}
          </span>
        )}
        {lost && <span className="chip">{texts.duel.notChosen}</span>}
        {isCurrent && !won && (choice || canGoOn) && <span className="chip">{texts.duel.current}</span>}
        <span className="flex-1" />
        {canGoOn && !isCurrent && answer && now.text && now.state !== "failed" && (
          <button
            type="button"
            className="btn btn-small"
            disabled={actions.busy}
            onClick={() => actions.goOn(answer.id)}
          >
            {texts.duel.continueHere}
          </button>
        )}
        {ended && now.text && !isCurrent && <CopyButton text={now.text} label={texts.chat.copyAnswer} />}
        {lost && (
          <button
            type="button"
            className="icon-btn"
            aria-expanded={open}
            aria-label={open ? texts.duel.hide : texts.duel.show}
            onClick={() => setOpen(!open)}
          >
            <Icon name={open ? "fold" : "unfold"} className="size-4" />
          </button>
        )}
      </header>
      {folded ? (
        <div className="px-4 py-2.5">
          {/* Without the signs of markdown: two lines have no room for lists and bold words. */}
          <p className="line-clamp-2 text-muted">{now.text.replace(/[*_`#>|]+/g, "")}</p>
        </div>
      ) : (
        <div className="flex flex-col gap-2 px-4 py-3">
          {other !== undefined && now.text && !veiled ? (
            <Marked text={now.text} other={other} />
          ) : (
            <AnswerBody now={now} veiled={veiled} stream={answer?.stream ?? null} />
          )}
          {choice && isCurrent && answer && ended && (
            <AnswerTools answer={answer} now={now} turn={turn} isLast={isLast} actions={actions} />
          )}
        </div>
      )}
    </article>
  );
}

/** The text as it was written, with the sentences that the other side does not say marked. */
function Marked({ text, other }: { text: string; other: string }) {
  const texts = useTexts();
  const sentences = onlyHere(text, other);
  const shared = sentences.some((one) => !one.only && one.text.trim());
  const note = !shared
    ? texts.duel.nothingShared
    : sentences.some((one) => one.only)
      ? texts.duel.onlyHere
      : texts.duel.saidThere;
  return (
    <>
      <p className="wrap-anywhere whitespace-pre-wrap">
        {sentences.map(({ text: said, only }, index) =>
          only && shared ? <mark key={index}>{said}</mark> : said,
        )}
      </p>
      <p className="text-[0.85rem] text-muted">{note}</p>
    </>
  );
}
