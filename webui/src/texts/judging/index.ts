/** What the judging queue and one's own votes say: loaded with them. */
import { type Texts as PageTexts, type Sources, useMore } from "../index";
import { en, type JudgingTexts } from "./en";

export type Texts = PageTexts & JudgingTexts;

const OWN: Sources<JudgingTexts> = { en, zh: async () => (await import("./zh")).zh };

/** The page's texts, and these among them. */
export const useTexts = (): Texts => useMore(OWN);
