/** A duel: two equal cards, blind until the vote; then the winner goes on and the loser folds. */
import { type KeyboardEvent, useEffect, useState } from "react";
import type { Answer, Duel, DuelChoice } from "../../api";
import type { Attempt, ShownTurn } from "../../branch";
import { useSending } from "../../outbox";
import { type Texts, useTexts } from "../../texts";
import { CopyButton } from "../../ui/copy";
import { Icon } from "../../ui/icons";
import { PHONE, useMedia } from "../../ui/media";
import { AnswerBody, type AnswerNow, useAnswerNow } from "./answer";
import { Pager, RetryButton, type TurnActions } from "./turn";

interface Props {
  attempt: Attempt;
  duel: Duel;
  turn: ShownTurn;
  isLast: boolean;
  actions: TurnActions;
}

const SIDES = [1, 2] as const;

export function DuelCards({ attempt, duel, turn, isLast, actions }: Props) {
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

  // The first words of both sides appear together: speed must not tell the versions apart.
  const veiled = !now.every((one) => one.text || one.state !== "streaming");
  // Told by what was fetched: between the last word and `duel.ready` an event may still be on its way.
  const failed = !choice && !duel.ready && sides.every((one) => one?.state !== "streaming");
  const card = (side: 1 | 2) => (
    <Card
      key={side}
      side={side}
      answer={sides[side - 1]}
      now={now[side - 1] ?? now[0]}
      veiled={veiled}
      choice={choice}
      isCurrent={turn.chosen?.id === sides[side - 1]?.id}
      canGoOn={isLast && (failed || choice === "tie" || choice === "both_bad")}
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
      {phone && !choice && (
        <Tabs
          shown={tab}
          show={(side) => {
            setTab(side);
            if (side === 2) setVisited(true);
          }}
        />
      )}
      <div className={`grid items-start gap-3 ${decided ? "" : "md:grid-cols-2"}`}>
        {choice === "b" ? [card(2), card(1)] : SIDES.map(card)}
      </div>
      <Verdict duel={duel} choice={choice} />
      {failed && isLast && (
        <div className="flex flex-wrap items-center gap-3">
          <p className="text-muted">{texts.duel.notCounted}</p>
          <RetryButton turn={turn} actions={actions} />
        </div>
      )}
      {turn.attempts.length > 1 && (
        <div>
          <Pager turn={turn} actions={actions} />
        </div>
      )}
    </div>
  );
}

function useChoice(duel: Duel): DuelChoice | null {
  const sending = useSending(duel.id);
  if (duel.vote) return duel.vote.choice;
  return sending && sending.state !== "refused" ? (sending.vote.choice as DuelChoice) : null;
}

function Tabs({ shown, show }: { shown: 1 | 2; show: (side: 1 | 2) => void }) {
  const texts = useTexts();
  const onKeyDown = (event: KeyboardEvent<HTMLDivElement>) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    const next = shown === 1 ? 2 : 1;
    show(next);
    event.currentTarget.querySelectorAll("button")[next - 1]?.focus();
  };
  return (
    <div
      role="tablist"
      aria-label={texts.duel.tabs}
      className="flex rounded-lg bg-sunken p-1"
      onKeyDown={onKeyDown}
    >
      {SIDES.map((side) => (
        <button
          key={side}
          type="button"
          role="tab"
          id={`tab-${side}`}
          aria-selected={shown === side}
          aria-controls={`side-${side}`}
          tabIndex={shown === side ? 0 : -1}
          onClick={() => show(side)}
          className={`min-h-9 flex-1 rounded-md font-medium ${shown === side ? "bg-surface shadow-[0_0_0_1px_var(--line)]" : "text-muted"}`}
        >
          {texts.chat.answerN(side)}
        </button>
      ))}
    </div>
  );
}

interface CardProps {
  side: 1 | 2;
  answer: Answer | undefined;
  now: AnswerNow;
  veiled: boolean;
  choice: DuelChoice | null;
  isCurrent: boolean;
  canGoOn: boolean;
  actions: TurnActions;
  hidden: boolean;
}

function Card({ side, answer, now, veiled, choice, isCurrent, canGoOn, actions, hidden }: CardProps) {
  const texts = useTexts();
  const won = choice === (side === 1 ? "a" : "b");
  const lost = (choice === "a" || choice === "b") && !won;
  const [open, setOpen] = useState(false);
  const folded = lost && !open;
  return (
    <article
      id={`side-${side}`}
      aria-label={texts.chat.answerN(side)}
      aria-busy={now.state === "streaming"}
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
        {now.state !== "streaming" && now.text && (
          <CopyButton text={now.text} label={texts.chat.copyAnswer} />
        )}
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
          <p className="line-clamp-2 text-muted">{now.text}</p>
        </div>
      ) : (
        <div className="px-4 py-3">
          <AnswerBody now={now} veiled={veiled} />
        </div>
      )}
    </article>
  );
}

function revealText(choice: DuelChoice, a: number, b: number, texts: Texts): string {
  if (a === b) return texts.duel.same(a);
  if (choice === "tie") return texts.duel.tiedVersions(a, b);
  if (choice === "both_bad") return texts.duel.badVersions(a, b);
  return choice === "a" ? texts.duel.beat(a, b) : texts.duel.beat(b, a);
}

/** What became of the vote: saved or not, which versions spoke, how far the next training is. */
function Verdict({ duel, choice }: { duel: Duel; choice: DuelChoice | null }) {
  const texts = useTexts();
  const sending = useSending(duel.id);
  const counted = sending?.state === "counted" ? sending.counted : null;
  const a = duel.version_a ?? counted?.reveal?.version_a;
  const b = duel.version_b ?? counted?.reveal?.version_b;
  return (
    <div
      role="status"
      data-testid="verdict"
      className="flex flex-wrap items-center gap-2 text-[0.92rem] text-muted empty:hidden"
    >
      {choice === "tie" && <span className="chip">{texts.duel.tied}</span>}
      {choice === "both_bad" && <span className="chip">{texts.duel.bothBad}</span>}
      {choice && a != null && b != null && (
        <span className="chip chip-good arrive">{revealText(choice, a, b, texts)}</span>
      )}
      {counted && <span>{texts.duel.counted(counted.pending, counted.min_votes)}</span>}
      {sending?.state === "sending" && (
        <span className={sending.tries > 0 ? "text-turn" : ""}>
          {sending.tries > 0 ? texts.duel.kept : texts.duel.saving}
        </span>
      )}
    </div>
  );
}
