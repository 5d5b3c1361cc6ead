/** What the vote explorer and the leaderboard say: loaded with them. */
import { type Texts as PageTexts, useMore } from "../index";
import { type ExplorerTexts, en } from "./en";
import { zh } from "./zh";

export type Texts = PageTexts & ExplorerTexts;

const MORE = { en, zh };

/** The page's texts, and these among them. */
export const useTexts = (): Texts => useMore(MORE);
