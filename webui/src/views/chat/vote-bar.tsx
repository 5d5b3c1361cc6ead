/** The vote: four choices, by button or by key, open when both answers are complete. */
import { useCallback, useEffect, useRef } from "react";
import type { Duel, DuelChoice } from "../../api";
import { outbox, useSending } from "../../outbox";
import { useTexts } from "../../texts";
import { ProblemLine } from "../../ui/notice";

const KEYS: Record<string, DuelChoice> = { "1": "a", "=": "tie", "0": "both_bad", "2": "b" };

interface Props {
  duel: Duel;
  ready: boolean;
  streaming: boolean;
  /** Both answers were on the screen: on a phone only one is at a time. */
  seen: boolean;
}

const isTyping = (target: EventTarget | null) =>
  target instanceof HTMLElement &&
  (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));

/** Whether the focus may be taken: it is nowhere, or in a composer that holds no words. */
function isFree(active: Element | null): boolean {
  if (!active || active === document.body) return true;
  return active instanceof HTMLTextAreaElement && active.id === "composer" && !active.value;
}

export function VoteBar({ duel, ready, streaming, seen }: Props) {
  const texts = useTexts();
  const sending = useSending(duel.id);
  const group = useRef<HTMLDivElement>(null);
  const shownAt = useRef(0);
  const refused = sending?.state === "refused" ? sending.problem : null;
  const undecided = !duel.vote && (!sending || refused !== null);
  const open = ready && seen && undecided;

  const vote = useCallback(
    (choice: DuelChoice) => {
      const shown_ms = Math.round(performance.now() - shownAt.current);
      outbox.cast({ kind: "duel", duel_id: duel.id, choice, shown_ms });
      document.getElementById("composer")?.focus();
    },
    [duel.id],
  );

  useEffect(() => {
    if (!open) return;
    shownAt.current = performance.now();
    if (isFree(document.activeElement)) group.current?.focus();
    const onKey = (event: KeyboardEvent) => {
      const choice = KEYS[event.key];
      if (!choice || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
      if (isTyping(event.target) || document.querySelector("dialog[open]")) return;
      event.preventDefault();
      vote(choice);
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [open, vote]);

  if (!undecided || (!ready && !streaming)) return null;
  const hint = streaming ? texts.duel.wait : seen ? texts.duel.which : texts.duel.seeBoth;
  const button = (key: string, choice: DuelChoice, label: string, short: string) => (
    <button
      type="button"
      className="btn min-h-11 flex-1 max-[760px]:flex-col max-[760px]:gap-1 max-[760px]:px-1 max-[760px]:py-1.5 max-[760px]:text-[0.85rem]"
      disabled={!open}
      onClick={() => vote(choice)}
      aria-keyshortcuts={key}
    >
      <span className="key" aria-hidden="true">
        {key}
      </span>
      <span className="max-[760px]:sr-only">{label}</span>
      <span className="min-[761px]:hidden" aria-hidden="true">
        {short}
      </span>
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
        className={`rounded-xl border p-2 ${open ? "border-turn bg-turn-soft" : "border-line bg-sunken"}`}
      >
        <p className={`mb-1.5 px-1 text-[0.92rem] font-medium ${open ? "text-turn" : "text-muted"}`}>
          {hint}
        </p>
        <div className="flex gap-2 max-[760px]:gap-1.5">
          {button("1", "a", texts.duel.a, texts.chat.answerN(1))}
          {button("=", "tie", texts.duel.tie, texts.duel.tie)}
          {button("0", "both_bad", texts.duel.both_bad, texts.duel.both_bad)}
          {button("2", "b", texts.duel.b, texts.chat.answerN(2))}
        </div>
      </div>
      <p role="status" className="sr-only">
        {open && texts.duel.ready}
      </p>
    </div>
  );
}
