/** Every key, what it does, and the way to choose another. */
import { type KeyboardEvent, useState } from "react";
import {
  type Action,
  capOf,
  DEFAULT_KEYS,
  namesOf,
  rebind,
  resetKeys,
  switchKeys,
  useKeys,
  useKeysOff,
} from "../keys";
import { useTexts } from "../texts";
import { Dialog } from "../ui/dialog";

const GROUPS: Record<"vote" | "answer" | "page", Action[]> = {
  vote: [
    "voteA",
    "voteB",
    "voteTie",
    "voteBothBad",
    "voteMuchA",
    "voteMuchB",
    "voteSkip",
    "voteUndo",
    "diff",
    "guideline",
  ],
  answer: ["thumbUp", "thumbDown", "again", "rank", "ideal", "copy", "earlier", "later"],
  page: ["write", "follow", "search", "palette", "newChat", "keys"],
};

export default function KeySettings({ onClose }: { onClose: () => void }) {
  const texts = useTexts();
  const keys = useKeys();
  const off = useKeysOff();
  const [asking, setAsking] = useState<Action | null>(null);
  const take = (event: KeyboardEvent, action: Action) => {
    if (asking !== action) return;
    if (event.key === "Tab") return setAsking(null);
    event.preventDefault();
    event.stopPropagation();
    if (event.key === "Escape") return setAsking(null);
    const [name] = namesOf(event.nativeEvent);
    if (!name) return;
    rebind(action, name);
    setAsking(null);
  };
  return (
    <Dialog title={texts.keys.title} onClose={onClose} wide>
      <label className="mb-4 flex items-center gap-2.5">
        <input
          type="checkbox"
          className="size-4.5 accent-(--accent)"
          checked={!off}
          onChange={(event) => switchKeys(!event.target.checked)}
        />
        <span>
          {texts.keys.on} <span className="text-muted">{texts.keys.onHint}</span>
        </span>
      </label>
      <div
        className="grid max-h-[60vh] gap-x-8 gap-y-5 overflow-y-auto pr-1 md:grid-cols-2"
        tabIndex={0}
        role="group"
        aria-label={texts.keys.title}
      >
        {(Object.keys(GROUPS) as (keyof typeof GROUPS)[]).map((group) => (
          <section key={group} aria-label={texts.keys.groups[group]}>
            <h3 className="eyebrow mb-1">{texts.keys.groups[group]}</h3>
            <ul>
              {GROUPS[group].map((action) => (
                <li key={action} className="flex min-h-9 items-center gap-3 border-b border-line">
                  <span className={`flex-1 ${off && !keys[action].startsWith("Ctrl+") ? "text-muted" : ""}`}>
                    {texts.keys.actions[action]}
                  </span>
                  <button
                    type="button"
                    className={`btn btn-small min-w-18 font-mono ${asking === action ? "border-accent" : ""}`}
                    aria-label={texts.keys.change(texts.keys.actions[action], capOf(keys[action]))}
                    onClick={() => setAsking(asking === action ? null : action)}
                    onKeyDown={(event) => take(event, action)}
                    onBlur={() => setAsking(null)}
                  >
                    {asking === action ? texts.keys.press : capOf(keys[action])}
                  </button>
                </li>
              ))}
            </ul>
          </section>
        ))}
        <section aria-label={texts.keys.groups.fixed}>
          <h3 className="eyebrow mb-1">{texts.keys.groups.fixed}</h3>
          <ul>
            {texts.keys.fixed.map(([key, what]) => (
              <li key={key} className="flex min-h-9 items-center gap-3 border-b border-line">
                <span className="flex-1">{what}</span>
                <span className="key">{key}</span>
              </li>
            ))}
          </ul>
        </section>
      </div>
      <div className="mt-4 flex justify-end gap-2">
        <button
          type="button"
          className="btn mr-auto"
          disabled={
            !off && Object.entries(DEFAULT_KEYS).every(([action, key]) => keys[action as Action] === key)
          }
          onClick={resetKeys}
        >
          {texts.keys.reset}
        </button>
        <button type="button" className="btn btn-main" onClick={onClose}>
          {texts.common.close}
        </button>
      </div>
    </Dialog>
  );
}
