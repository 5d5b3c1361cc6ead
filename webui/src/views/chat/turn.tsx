/** One turn: what the person said, and the attempt at an answer that is shown. */
import type { Mode } from "../../api";
import type { ShownTurn } from "../../branch";
import { useTexts } from "../../texts";
import { Icon } from "../../ui/icons";
import { SingleAnswer } from "./answer";
import { DuelCards } from "./duel";

export interface TurnActions {
  again: (messageId: string, mode?: Mode) => void;
  goOn: (answerId: string) => void;
  seenBoth: (duelId: string) => void;
  busy: boolean;
}

interface Props {
  turn: ShownTurn;
  isLast: boolean;
  actions: TurnActions;
}

export function Turn({ turn, isLast, actions }: Props) {
  const texts = useTexts();
  const attempt = turn.attempts[turn.shown];
  const [only] = attempt?.answers ?? [];
  return (
    <section aria-label={turn.message.text.slice(0, 80)} className="flex flex-col gap-4">
      <div className="mx-auto w-full max-w-190">
        <div className="ml-auto w-fit max-w-[85%] rounded-2xl rounded-br-md bg-hover px-4 py-2.5">
          <h2 className="sr-only">{texts.chat.you}</h2>
          <span className="wrap-anywhere whitespace-pre-wrap">{turn.message.text}</span>
        </div>
      </div>
      {attempt?.duel ? (
        <DuelCards attempt={attempt} duel={attempt.duel} turn={turn} isLast={isLast} actions={actions} />
      ) : only ? (
        <SingleAnswer answer={only} turn={turn} isLast={isLast} actions={actions} />
      ) : (
        <div className="mx-auto flex w-full max-w-190 flex-wrap items-center gap-3">
          <p className="text-muted">{texts.chat.unanswered}</p>
          <RetryButton turn={turn} actions={actions} />
        </div>
      )}
    </section>
  );
}

export function RetryButton({ turn, actions }: { turn: ShownTurn; actions: TurnActions }) {
  const texts = useTexts();
  return (
    <button
      type="button"
      className="btn btn-small"
      disabled={actions.busy}
      onClick={() => actions.again(turn.message.id)}
    >
      <Icon name="again" className="size-4" />
      {texts.chat.retry}
    </button>
  );
}

/** Goes through the attempts at this message's answer. */
export function Pager({ turn, actions }: { turn: ShownTurn; actions: TurnActions }) {
  const texts = useTexts();
  if (turn.attempts.length < 2) return null;
  const show = (index: number) => {
    const attempt = turn.attempts[index];
    const choice = attempt?.duel?.vote?.choice;
    const answer = attempt?.answers[choice === "b" ? 1 : 0];
    if (answer) actions.goOn(answer.id);
  };
  return (
    <span className="flex items-center text-[0.87rem] text-muted tabular-nums">
      <button
        type="button"
        className="icon-btn"
        aria-label={texts.chat.earlier}
        disabled={turn.shown === 0 || actions.busy}
        onClick={() => show(turn.shown - 1)}
      >
        <Icon name="left" className="size-4" />
      </button>
      <span role="img" aria-label={texts.chat.answerOf(turn.shown + 1, turn.attempts.length)}>
        {turn.shown + 1}/{turn.attempts.length}
      </span>
      <button
        type="button"
        className="icon-btn"
        aria-label={texts.chat.later}
        disabled={turn.shown === turn.attempts.length - 1 || actions.busy}
        onClick={() => show(turn.shown + 1)}
      >
        <Icon name="right" className="size-4" />
      </button>
    </span>
  );
}
