/** Why: reasons to tick and a comment. It asks nothing of whoever does not want to say, and saves as one goes. */
import { type KeyboardEvent, useId, useRef, useState } from "react";
import { outbox, useSending } from "../../outbox";
import { useTexts } from "../../texts";
import { Icon } from "../../ui/icons";

/** Kept with the vote under these names; the page says them in its language. */
const GOOD = ["accurate", "helpful", "clear", "complete", "creative", "good_style"] as const;
const BAD = ["incorrect", "off_topic", "incomplete", "too_long", "bad_style", "unsafe", "refused"] as const;
export type Reason = (typeof GOOD)[number] | (typeof BAD)[number];

interface Props {
  target: string;
  about: "good" | "bad";
  onClose?: () => void;
}

export function Reasons({ target, about, onClose }: Props) {
  const texts = useTexts();
  const sending = useSending(target);
  const field = useId();
  const group = useRef<HTMLDivElement>(null);
  const change = sending?.state === "sending" || sending?.state === "counted" ? sending.change : undefined;
  const ticked = change?.tags ?? [];
  const [comment, setComment] = useState(change?.comment ?? "");
  const reasons: readonly Reason[] = about === "good" ? GOOD : BAD;

  const tick = (reason: Reason) => {
    const tags = ticked.includes(reason) ? ticked.filter((one) => one !== reason) : [...ticked, reason];
    outbox.amend(target, { tags });
  };
  const saveComment = () => {
    const text = comment.trim();
    if (text !== (change?.comment ?? "")) outbox.amend(target, { comment: text || null });
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "Escape" && onClose) {
      event.preventDefault();
      return onClose();
    }
    if (event.target instanceof HTMLInputElement) return;
    const reason = reasons[Number(event.key) - 1];
    if (!reason || event.shiftKey || event.ctrlKey || event.metaKey) return;
    // Here a digit is a reason; elsewhere it may be a vote.
    event.preventDefault();
    event.nativeEvent.stopImmediatePropagation();
    tick(reason);
  };
  return (
    <div
      ref={group}
      role="group"
      aria-label={texts.reasons.why}
      className="arrive flex flex-wrap items-center gap-1.5 text-[0.87rem]"
      onKeyDown={onKeyDown}
    >
      <span className="mr-1 text-muted">{texts.reasons.why}</span>
      {reasons.map((reason, index) => (
        <button
          key={reason}
          type="button"
          className="tick"
          aria-pressed={ticked.includes(reason)}
          aria-keyshortcuts={String(index + 1)}
          onClick={() => tick(reason)}
        >
          {texts.reasons.names[reason]}
        </button>
      ))}
      <label htmlFor={field} className="sr-only">
        {texts.reasons.comment}
      </label>
      <input
        id={field}
        className="field min-h-7 w-56 min-w-0 flex-1 basis-40 py-0 text-[0.87rem]"
        placeholder={texts.reasons.comment}
        value={comment}
        maxLength={2000}
        onChange={(event) => setComment(event.target.value)}
        onBlur={saveComment}
        onKeyDown={(event) => {
          if (event.key !== "Enter" || event.nativeEvent.isComposing) return;
          event.preventDefault();
          saveComment();
          document.getElementById("composer")?.focus();
        }}
      />
      {onClose && (
        <button type="button" className="icon-btn" aria-label={texts.common.close} onClick={onClose}>
          <Icon name="close" className="size-4" />
        </button>
      )}
    </div>
  );
}
