/** What was typed but not sent, for each conversation, and whether answers are compared. */
import { useState } from "react";
import type { Mode } from "../../api";

const PREFIX = "heed.draft.";
const MODE_KEY = "heed.mode";
const MODES: readonly Mode[] = ["auto", "duel", "single"];

export function keepDraft(id: string | null, text: string): void {
  const key = PREFIX + (id ?? "new");
  try {
    if (text) sessionStorage.setItem(key, text);
    else sessionStorage.removeItem(key);
  } catch {
    // Without storage a draft lasts as long as its composer.
  }
}

export function draftOf(id: string | null): string {
  try {
    return sessionStorage.getItem(PREFIX + (id ?? "new")) ?? "";
  } catch {
    return "";
  }
}

export function useMode(): [Mode, (mode: Mode) => void] {
  const [mode, setMode] = useState<Mode>(() => {
    try {
      return MODES.find((one) => one === localStorage.getItem(MODE_KEY)) ?? "auto";
    } catch {
      return "auto";
    }
  });
  const change = (chosen: Mode) => {
    setMode(chosen);
    try {
      localStorage.setItem(MODE_KEY, chosen);
    } catch {
      // Without storage the choice lasts as long as the page.
    }
  };
  return [mode, change];
}
