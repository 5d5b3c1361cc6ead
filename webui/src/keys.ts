/** Keys: what each does, which the person chose instead, and who listens now. */
import { useEffect, useRef, useSyncExternalStore } from "react";

/** Every action with the key it has at first. One word a key: `1`, `Shift+1`, `Ctrl+K`, `ArrowUp`. */
export const DEFAULT_KEYS = {
  voteA: "1",
  voteTie: "=",
  voteBothBad: "0",
  voteB: "2",
  voteMuchA: "Shift+1",
  voteMuchB: "Shift+2",
  voteSkip: "S",
  voteUndo: "Z",
  diff: "D",
  guideline: "G",
  thumbUp: "U",
  thumbDown: "J",
  again: "R",
  rank: "K",
  ideal: "E",
  copy: "C",
  earlier: "[",
  later: "]",
  write: "I",
  follow: "F",
  search: "/",
  palette: "Ctrl+K",
  newChat: "Ctrl+Shift+O",
  keys: "?",
} as const;

export type Action = keyof typeof DEFAULT_KEYS;
export type Bindings = Record<Action, string>;

const STORAGE_KEY = "heed.keys";
interface Kept {
  off: boolean;
  changed: Partial<Bindings>;
}

const listeners = new Set<() => void>();
let kept = read();
let bindings = bound();

function read(): Kept {
  try {
    const found = JSON.parse(localStorage.getItem(STORAGE_KEY) ?? "null");
    if (found && typeof found.off === "boolean" && typeof found.changed === "object") return found;
  } catch {
    // What cannot be read counts as nothing kept.
  }
  return { off: false, changed: {} };
}

function bound(): Bindings {
  return { ...DEFAULT_KEYS, ...kept.changed };
}

function keep(changes: Partial<Kept>): void {
  kept = { ...kept, ...changes };
  bindings = bound();
  try {
    localStorage.setItem(STORAGE_KEY, JSON.stringify(kept));
  } catch {
    // Without storage the choice lasts as long as the page.
  }
  for (const listener of listeners) listener();
}

/** Gives the action another key; an action that had it takes the freed one, so that no key means two things. */
export function rebind(action: Action, key: string): void {
  const other = (Object.keys(bindings) as Action[]).find((one) => one !== action && bindings[one] === key);
  const changed = { ...kept.changed, [action]: key };
  if (other) changed[other] = bindings[action];
  keep({ changed });
}

export const resetKeys = (): void => keep({ changed: {}, off: false });
export const switchKeys = (off: boolean): void => keep({ off });

const MODIFIERS = new Set(["Shift", "Control", "Alt", "Meta", "AltGraph"]);

/**
 * The names under which a pressed key may be bound; none for a modifier alone. Digits go by their place on the
 * keyboard, so that `Shift+1` is one key on every layout; everything else by the character that it writes.
 */
export function namesOf(
  event: Pick<KeyboardEvent, "key" | "code" | "shiftKey" | "ctrlKey" | "metaKey" | "altKey">,
): string[] {
  if (MODIFIERS.has(event.key) || event.altKey) return [];
  const control = event.ctrlKey || event.metaKey ? "Ctrl+" : "";
  const shift = event.shiftKey ? "Shift+" : "";
  const digit = /^(?:Digit|Numpad)(\d)$/.exec(event.code)?.[1];
  const names = digit ? [`${control}${shift}${digit}`] : [];
  const isLetter = /^\p{L}$/u.test(event.key);
  if (isLetter || event.key.length > 1)
    names.push(`${control}${shift}${isLetter ? event.key.toUpperCase() : event.key}`);
  else if (!/^\d$/.test(event.key)) names.push(control + event.key);
  return names;
}

const isTyping = (target: EventTarget | null) =>
  target instanceof HTMLElement &&
  (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));

type Handlers = Partial<Record<Action, () => void>>;
const stack: { current: Handlers }[] = [];

/** The newest who listens for the key does it; whoever writes a text keeps the plain keys for the text. */
function onKeyDown(event: KeyboardEvent): void {
  if (event.defaultPrevented || event.repeat || event.isComposing) return;
  for (const name of namesOf(event)) {
    const plain = !name.startsWith("Ctrl+");
    if (plain && (kept.off || isTyping(event.target))) continue;
    const action = (Object.keys(bindings) as Action[]).find((one) => bindings[one] === name);
    if (!action) continue;
    if (document.querySelector("dialog[open]")) return;
    const listener = stack.findLast((one) => one.current[action]);
    if (!listener) continue;
    event.preventDefault();
    listener.current[action]?.();
    return;
  }
}
if (typeof window !== "undefined") addEventListener("keydown", onKeyDown);

/** Listens for these actions as long as the view is shown. A handler that is undefined does not listen. */
export function useActions(handlers: Handlers): void {
  const current = useRef(handlers);
  useEffect(() => {
    current.current = handlers;
  });
  useEffect(() => {
    stack.push(current);
    return () => {
      stack.splice(stack.indexOf(current), 1);
    };
  }, []);
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export const useKeys = (): Bindings => useSyncExternalStore(subscribe, () => bindings);
export const useKeysOff = (): boolean => useSyncExternalStore(subscribe, () => kept.off);

const SHOWN: Record<string, string> = {
  ArrowUp: "↑",
  ArrowDown: "↓",
  ArrowLeft: "←",
  ArrowRight: "→",
  Escape: "Esc",
};

/** The key as it is printed on a key cap. */
export const capOf = (key: string): string =>
  key
    .split(/\+(?!$)/)
    .map((part) => SHOWN[part] ?? part)
    .join(" ");
