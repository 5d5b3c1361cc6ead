/** `< 2/3 >`: turns from one sibling to the next. */
import type { ShownTurn } from "../../branch";
import { winnerOf } from "../../branch";
import { useActions } from "../../keys";
import { useTexts } from "../../texts";
import { Icon } from "../../ui/icons";
import type { TurnActions } from "./actions";

interface Props {
  at: number;
  of: number;
  busy: boolean;
  label: string;
  earlier: string;
  later: string;
  turn: (step: -1 | 1) => void;
}

export function Pager({ at, of, busy, label, earlier, later, turn }: Props) {
  if (of < 2) return null;
  const button = (step: -1 | 1, name: string) => (
    <button
      type="button"
      className="icon-btn"
      aria-label={name}
      title={name}
      disabled={busy || at + step < 0 || at + step >= of}
      onClick={() => turn(step)}
    >
      <Icon name={step < 0 ? "left" : "right"} className="size-4" />
    </button>
  );
  return (
    <span className="flex items-center text-[0.87rem] text-muted tabular-nums">
      {button(-1, earlier)}
      <span role="img" aria-label={label}>
        {at + 1}/{of}
      </span>
      {button(1, later)}
    </span>
  );
}

/** The attempts at a message's answer; of the last turn `[` and `]` turn them too. */
export function AttemptPager({
  turn,
  isLast,
  actions,
}: {
  turn: ShownTurn;
  isLast: boolean;
  actions: TurnActions;
}) {
  const texts = useTexts();
  const to = (step: number) => {
    const attempt = turn.attempts[turn.shown + step];
    const winner = attempt?.duel ? winnerOf(attempt.duel) : null;
    const answer = attempt?.answers.find((one) => one.id === winner) ?? attempt?.answers[0];
    if (answer && !actions.busy) actions.goOn(answer.id);
  };
  const several = isLast && turn.attempts.length > 1;
  useActions({ earlier: several ? () => to(-1) : undefined, later: several ? () => to(1) : undefined });
  return (
    <Pager
      at={turn.shown}
      of={turn.attempts.length}
      busy={actions.busy}
      label={texts.chat.answerOf(turn.shown + 1, turn.attempts.length)}
      earlier={texts.chat.earlier}
      later={texts.chat.later}
      turn={to}
    />
  );
}
