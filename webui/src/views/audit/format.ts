/** Exact times and the names of acts, as a log needs them. */
import type { Language } from "../../texts";

/** "21 Nov 2026, 14:05:33". */
export function formatExact(at: string, language: Language): string {
  return new Intl.DateTimeFormat(language === "zh" ? "zh-Hans" : "en-GB", {
    dateStyle: "medium",
    timeStyle: "medium",
  }).format(new Date(at));
}

/** The act in the page's language; one of another part, as that part calls it. */
export const actionName = (action: string, names: Record<string, string>): string =>
  names[action] ?? action.replaceAll("_", " ");
