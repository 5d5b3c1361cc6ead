/** The language of the page: English at once, others when chosen; kept in this browser. */
import { use, useMemo, useSyncExternalStore } from "react";
import { en, type Texts } from "./en";

export type { Texts };
export type Language = "en" | "zh";
export const LANGUAGES: Record<Language, string> = { en: "English", zh: "中文" };

const STORAGE_KEY = "heed.language";
const listeners = new Set<() => void>();
let language: Language = "en";
let texts: Texts = en;

const wish = (): Language => {
  try {
    const kept = localStorage.getItem(STORAGE_KEY);
    if (kept === "en" || kept === "zh") return kept;
  } catch {
    // Without storage the browser's own language decides.
  }
  return navigator.language.startsWith("zh") ? "zh" : "en";
};

async function load(wanted: Language): Promise<void> {
  texts = wanted === "zh" ? (await import("./zh")).zh : en;
  language = wanted;
  document.documentElement.lang = wanted === "zh" ? "zh-Hans" : "en";
  for (const listener of listeners) listener();
}

/** Loads the language the person chose before, or the browser's. */
export const loadLanguage = (): Promise<void> => load(wish());

export async function setLanguage(wanted: Language): Promise<void> {
  try {
    localStorage.setItem(STORAGE_KEY, wanted);
  } catch {
    // Without storage the choice lasts as long as the page.
  }
  await load(wanted);
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export const useTexts = (): Texts => useSyncExternalStore(subscribe, () => texts);
export const useLanguage = (): Language => useSyncExternalStore(subscribe, () => language);

/** Texts that come with the page that says them: English with its code, any other language when it is asked for. */
export interface Sources<Own> {
  en: Own;
  zh: () => Promise<Own>;
}
const chinese = new WeakMap<object, Promise<unknown>>();

/** Suspends while another language than English is on its way. */
export function useOwn<Own>(sources: Sources<Own>): Own {
  if (useLanguage() === "en") return sources.en;
  const coming = chinese.get(sources) ?? sources.zh();
  chinese.set(sources, coming);
  return use(coming as Promise<Own>);
}

/** The page's texts with its own among them. */
export function useMore<Own>(sources: Sources<Own>): Texts & Own {
  const page = useTexts();
  const own = useOwn(sources);
  return useMemo(() => ({ ...page, ...own }), [page, own]);
}
