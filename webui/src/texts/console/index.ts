/** What the pages behind the dashboard say: loaded with them, so that the chat does not carry it. */
import { type Texts as PageTexts, useLanguage, useMore } from "../index";
import { type AdminTexts, adminEn } from "./admin-en";
import { adminZh } from "./admin-zh";
import { type ConsoleTexts, en } from "./en";
import { zh } from "./zh";

export type { ConsoleTexts };
export type Texts = PageTexts & { admin: AdminTexts };

const MORE = { en: { admin: adminEn }, zh: { admin: adminZh } };

export const useConsole = (): ConsoleTexts => (useLanguage() === "zh" ? zh : en);

/** The page's texts, and the dashboard's among them. */
export const useTexts = (): Texts => useMore(MORE);
