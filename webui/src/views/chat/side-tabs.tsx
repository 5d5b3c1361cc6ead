/** On a phone one side is shown at a time: two tabs, and a dot at the side that was not seen yet. */
import type { KeyboardEvent } from "react";
import { useTexts } from "../../texts";

interface Props {
  shown: 1 | 2;
  show: (side: 1 | 2) => void;
  /** The second side was looked at. */
  visited: boolean;
}

export function SideTabs({ shown, show, visited }: Props) {
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
      className="sticky top-0 z-10 flex rounded-lg bg-sunken p-1"
      onKeyDown={onKeyDown}
    >
      {([1, 2] as const).map((side) => (
        <button
          key={side}
          type="button"
          role="tab"
          id={`tab-${side}`}
          aria-selected={shown === side}
          aria-controls={`side-${side}`}
          tabIndex={shown === side ? 0 : -1}
          onClick={() => show(side)}
          className={`flex min-h-9 flex-1 items-center justify-center gap-2 rounded-md font-medium ${shown === side ? "bg-surface shadow-[0_0_0_1px_var(--line)]" : "text-muted"}`}
        >
          {texts.chat.answerN(side)}
          {side === 2 && !visited && (
            <span className="size-2 rounded-full bg-turn">
              <span className="sr-only">{texts.duel.notSeen}</span>
            </span>
          )}
        </button>
      ))}
    </div>
  );
}
