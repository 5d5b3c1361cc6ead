/** A short word about what was just done, with a way back; it goes by itself. */
import { useEffect, useState, useSyncExternalStore } from "react";
import { useTexts } from "../texts";
import { Icon } from "./icons";

export interface Toast {
  text: string;
  action?: { label: string; run: () => void };
}
const SHOWN_MS = 8000;

let toast: (Toast & { id: number }) | null = null;
let serial = 0;
const listeners = new Set<() => void>();

function put(next: typeof toast): void {
  toast = next;
  for (const listener of listeners) listener();
}

/** Shows the toast, in place of the one before. */
export const showToast = (shown: Toast): void => put({ ...shown, id: ++serial });
const hide = () => put(null);

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function Toasts() {
  const texts = useTexts();
  const shown = useSyncExternalStore(subscribe, () => toast);
  const [held, setHeld] = useState(false);
  useEffect(() => {
    if (!shown || held) return;
    const timer = setTimeout(hide, SHOWN_MS);
    return () => clearTimeout(timer);
  }, [shown, held]);
  return (
    <div role="status" className="pointer-events-none fixed inset-x-0 bottom-5 z-40 flex justify-center px-3">
      {shown && (
        // It stays while somebody points at it or has the focus in it.
        <div
          key={shown.id}
          className="arrive pointer-events-auto flex max-w-full items-center gap-3 rounded-xl bg-ink py-1.5 pr-1.5 pl-4 text-paper shadow-(--shadow)"
          onPointerEnter={() => setHeld(true)}
          onPointerLeave={() => setHeld(false)}
          onFocus={() => setHeld(true)}
          onBlur={() => setHeld(false)}
        >
          <span className="min-w-0 truncate">{shown.text}</span>
          {shown.action && (
            <button
              type="button"
              className="min-h-8 rounded-lg px-2.5 font-semibold underline underline-offset-2"
              onClick={() => {
                shown.action?.run();
                setHeld(false);
                hide();
              }}
            >
              {shown.action.label}
            </button>
          )}
          <button
            type="button"
            className="grid size-8 place-items-center rounded-lg"
            aria-label={texts.common.close}
            onClick={() => {
              setHeld(false);
              hide();
            }}
          >
            <Icon name="close" className="size-4" />
          </button>
        </div>
      )}
    </div>
  );
}
