/** What the pages behind the dashboard say: loaded with them, so that the chat does not carry it. */
import { useMemo } from "react";
import { type Texts as PageTexts, useLanguage, useTexts as usePageTexts } from "../index";
import { type AdminTexts, adminEn } from "./admin-en";
import { adminZh } from "./admin-zh";
import { type ConsoleTexts, en } from "./en";
import { zh } from "./zh";

export type { ConsoleTexts };
export type Texts = PageTexts & { admin: AdminTexts };

export const useConsole = (): ConsoleTexts => (useLanguage() === "zh" ? zh : en);

/** The page's texts, and the dashboard's among them. */
export function useTexts(): Texts {
  const page = usePageTexts();
  const language = useLanguage();
  return useMemo(() => ({ ...page, admin: language === "zh" ? adminZh : adminEn }), [page, language]);
}
