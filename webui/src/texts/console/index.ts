/** What the pages behind the dashboard say: loaded with them, so that the chat does not carry it. */
import { useLanguage } from "../index";
import { type ConsoleTexts, en } from "./en";
import { zh } from "./zh";

export type { ConsoleTexts };

export const useConsole = (): ConsoleTexts => (useLanguage() === "zh" ? zh : en);
