/** What the pages behind the dashboard say: loaded with them, so that the chat does not carry it. */
import { type Texts as PageTexts, type Sources, useMore, useOwn } from "../index";
import { type AdminTexts, adminEn } from "./admin-en";
import { type ConsoleTexts, en } from "./en";

export type { ConsoleTexts };
export type Texts = PageTexts & { admin: AdminTexts };

const CONSOLE: Sources<ConsoleTexts> = { en, zh: async () => (await import("./zh")).zh };
const ADMIN: Sources<{ admin: AdminTexts }> = {
  en: { admin: adminEn },
  zh: async () => ({ admin: (await import("./admin-zh")).adminZh }),
};

export const useConsole = (): ConsoleTexts => useOwn(CONSOLE);

/** The page's texts, and the dashboard's among them. */
export const useTexts = (): Texts => useMore(ADMIN);
