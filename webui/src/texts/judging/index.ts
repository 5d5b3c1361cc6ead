/** What the judging queue and one's own votes say: loaded with them. */
import { type Texts as PageTexts, useMore } from "../index";
import { en, type JudgingTexts } from "./en";
import { zh } from "./zh";

export type Texts = PageTexts & JudgingTexts;

const MORE = { en, zh };

/** The page's texts, and these among them. */
export const useTexts = (): Texts => useMore(MORE);
