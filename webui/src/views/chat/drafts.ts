/** What was typed but not sent, for each conversation, and whether answers are compared. */
import { useState } from "react";
import type { Mode } from "../../api";

const PREFIX = "heed.draft.";
const SYSTEM_KEY = "heed.system";
const MODE_KEY = "heed.mode";
export const MODES: readonly Mode[] = ["auto", "duel", "single"];

// Without storage what is kept lasts as long as the view that keeps it.
function read(storage: () => Storage, key: string): string {
  try {
    return storage().getItem(key) ?? "";
  } catch {
    return "";
  }
}
function write(storage: () => Storage, key: string, text: string): void {
  try {
    if (text) storage().setItem(key, text);
    else storage().removeItem(key);
  } catch {
    // As above.
  }
}
const session = () => sessionStorage;
const local = () => localStorage;

export const keepDraft = (id: string | null, text: string): void => write(session, PREFIX + (id ?? "new"), text);
export const draftOf = (id: string | null): string => read(session, PREFIX + (id ?? "new"));

/** The system prompt that the next new conversation begins with. */
export const keepSystemPrompt = (text: string): void => write(session, SYSTEM_KEY, text);
export const systemPromptDraft = (): string => read(session, SYSTEM_KEY);

export function useMode(): [Mode, (mode: Mode) => void] {
  const [mode, setMode] = useState<Mode>(
    () => MODES.find((one) => one === read(local, MODE_KEY)) ?? "auto",
  );
  const change = (chosen: Mode) => {
    setMode(chosen);
    write(local, MODE_KEY, chosen);
  };
  return [mode, change];
}
