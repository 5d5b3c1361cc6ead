/** Saved views: a name for a query, kept in this browser; some come with Heed. */
import { useSyncExternalStore } from "react";

export interface View {
  name: string;
  query: string;
}

/** The built-in ones; their names are in the texts, under these keys. */
export const BUILT_IN = {
  sureButWrong: "rm:disagree margin:>1",
  leaked: "flag:leaked",
  excluded: "status:excluded",
  fast: "kind:duel flag:early",
  bothBad: "outcome:both_bad",
} as const;

const STORAGE_KEY = "heed.votes.views";
const listeners = new Set<() => void>();
let views: View[] | null = null;

function read(): View[] {
  if (views) return views;
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(STORAGE_KEY) ?? "[]");
    views = Array.isArray(kept)
      ? kept.filter((one) => typeof one?.name === "string" && typeof one?.query === "string")
      : [];
  } catch {
    views = [];
  }
  return views;
}

function write(next: View[]): void {
  views = next;
  try {
    localStorage.setItem(STORAGE_KEY, JSON.stringify(next));
  } catch {
    // Without storage the views last as long as the page.
  }
  for (const listener of listeners) listener();
}

/** The same name again replaces the view. */
export const saveView = (view: View): void =>
  write([...read().filter((one) => one.name !== view.name), view]);
export const removeView = (name: string): void => write(read().filter((one) => one.name !== name));

export const useViews = (): View[] =>
  useSyncExternalStore((listener) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, read);
