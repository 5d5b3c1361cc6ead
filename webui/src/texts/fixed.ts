/** What the panel of the fixed prompts says: loaded with it. */
import { type Language, useLanguage } from "./index";

const en = {
  title: "Fixed prompts along the training",
  hint: "The same questions, answered greedily: only the policy differs.",
  before: "before",
  after: (update: number) => `after ${update}`,
  prompt: "Prompt",
  same: "as before",
};

const zh: typeof en = {
  title: "训练过程中的固定提问",
  hint: "同样的问题，贪心回答：只有策略不同。",
  before: "训练前",
  after: (update) => `${update} 次更新后`,
  prompt: "提问",
  same: "与之前相同",
};

export const fixedTexts: Record<Language, typeof en> = { en, zh };
export const useFixedTexts = () => fixedTexts[useLanguage()];
