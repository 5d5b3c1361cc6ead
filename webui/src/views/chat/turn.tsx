/** One turn: what the person said, and the attempt at an answer that is shown. */
import { type KeyboardEvent, useEffect, useRef, useState } from "react";
import type { ShownTurn } from "../../branch";
import { useTexts } from "../../texts";
import { Icon, type IconName } from "../../ui/icons";
import { RetryButton, type TurnActions } from "./actions";
import { SingleAnswer } from "./answer";
import { DuelCards } from "./duel";
import { Pager } from "./pager";

interface Props {
  turn: ShownTurn;
  isLast: boolean;
  editing: boolean;
  diff: boolean;
  actions: TurnActions;
}

export function Turn({ turn, isLast, editing, diff, actions }: Props) {
  const texts = useTexts();
  const attempt = turn.attempts[turn.shown];
  const [only] = attempt?.answers ?? [];
  return (
    <section aria-label={turn.message.text.slice(0, 80)} className="flex flex-col gap-2">
      {editing ? <Editing turn={turn} actions={actions} /> : <Said turn={turn} actions={actions} />}
      {attempt?.duel ? (
        <DuelCards
          key={attempt.key}
          attempt={attempt}
          duel={attempt.duel}
          turn={turn}
          isLast={isLast}
          diff={diff && isLast}
          actions={actions}
        />
      ) : only ? (
        <SingleAnswer key={only.id} answer={only} turn={turn} isLast={isLast} actions={actions} />
      ) : (
        <div className="mx-auto flex w-full max-w-190 flex-wrap items-center gap-3">
          <p className="text-muted">{texts.chat.unanswered}</p>
          <RetryButton turn={turn} actions={actions} />
        </div>
      )}
    </section>
  );
}

function Said({ turn, actions }: Pick<Props, "turn" | "actions">) {
  const texts = useTexts();
  const at = turn.edits.indexOf(turn.message);
  const turnTo = (step: number) => {
    const message = turn.edits[at + step];
    if (message) actions.turnTo(message);
  };
  const button = (icon: IconName, label: string, run: () => void) => (
    <button
      type="button"
      className="icon-btn opacity-0 group-focus-within:opacity-100 group-hover:opacity-100 pointer-coarse:opacity-100"
      aria-label={label}
      title={label}
      disabled={actions.busy}
      onClick={run}
    >
      <Icon name={icon} className="size-4" />
    </button>
  );
  return (
    <div className="group mx-auto flex w-full max-w-190 flex-col items-end gap-0.5">
      <div className="w-fit max-w-[85%] rounded-2xl rounded-br-md bg-hover px-4 py-2.5">
        <h2 className="sr-only">{texts.chat.you}</h2>
        <span className="wrap-anywhere whitespace-pre-wrap">{turn.message.text}</span>
      </div>
      <div className="flex min-h-8 items-center">
        <Pager
          at={at}
          of={turn.edits.length}
          busy={actions.busy}
          label={texts.chat.editOf(at + 1, turn.edits.length)}
          earlier={texts.chat.earlierEdit}
          later={texts.chat.laterEdit}
          turn={turnTo}
        />
        {button("people", texts.flag.open, () => actions.flag(turn.message))}
        {button("pencil", texts.chat.edit, () => actions.edit(turn.message.id))}
      </div>
    </div>
  );
}

/** The message, open for another try; the first one stays as a sibling. */
function Editing({ turn, actions }: Pick<Props, "turn" | "actions">) {
  const texts = useTexts();
  const [text, setText] = useState(turn.message.text);
  const field = useRef<HTMLTextAreaElement>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: its height follows its text
  useEffect(() => {
    const box = field.current;
    if (!box) return;
    box.style.height = "auto";
    box.style.height = `${Math.min(box.scrollHeight + 2, 320)}px`;
  }, [text]);
  useEffect(() => {
    field.current?.focus();
    field.current?.setSelectionRange(-1, -1);
  }, []);
  const close = () => {
    actions.edit(null);
    document.getElementById("composer")?.focus();
  };
  const isNew = text.trim() !== "" && text.trim() !== turn.message.text;
  const send = () => (isNew ? actions.sayInstead(turn, text.trim()) : close());
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "Escape") close();
    else if (event.key === "Enter" && !event.shiftKey && !event.nativeEvent.isComposing) send();
    else return;
    event.preventDefault();
  };
  return (
    <form
      className="mx-auto flex w-full max-w-190 flex-col gap-2"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <textarea
        ref={field}
        className="field resize-none"
        aria-label={texts.chat.edit}
        rows={1}
        value={text}
        maxLength={100_000}
        onChange={(event) => setText(event.target.value)}
        onKeyDown={onKeyDown}
      />
      <div className="flex flex-wrap items-center justify-end gap-2">
        <p className="flex-1 text-[0.87rem] text-muted">{texts.chat.editHint}</p>
        <button type="button" className="btn btn-small" onClick={close}>
          {texts.common.cancel}
        </button>
        <button type="submit" className="btn btn-main btn-small" disabled={!isNew || actions.busy}>
          {texts.chat.send}
        </button>
      </div>
    </form>
  );
}
