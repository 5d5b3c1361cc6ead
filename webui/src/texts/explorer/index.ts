/** What the vote explorer and the leaderboard say: loaded with them. */
import { type Texts as PageTexts, type Sources, useMore } from "../index";
import { type ExplorerTexts, en } from "./en";

export type Texts = PageTexts & ExplorerTexts;

const OWN: Sources<ExplorerTexts> = { en, zh: async () => (await import("./zh")).zh };

/** The page's texts, and these among them. */
export const useTexts = (): Texts => useMore(OWN);
