/** What is said of the reward model's opinion: loaded with it, so that the chat does not carry it. */
import { type Language, useLanguage } from "./index";

const en = {
  waiting: "Reward model: not scored yet",
  scores: (version: number, scores: string) => `Reward model of v${version} · ${scores}`,
  score: (answer: string, score: string) => `${answer}: ${score}`,
  chosen: (answer: string, chance: string) => `it would have chosen ${answer} (${chance})`,
  even: "it saw no difference",
  learned: "it had learned from this vote",
};

const zh: typeof en = {
  waiting: "奖励模型：尚未评分",
  scores: (version, scores) => `v${version} 的奖励模型 · ${scores}`,
  score: (answer, score) => `${answer}：${score}`,
  chosen: (answer, chance) => `它会选择${answer}（${chance}）`,
  even: "它认为没有差别",
  learned: "它已从这一票中学习过",
};

export const opinionTexts: Record<Language, typeof en> = { en, zh };
export const useOpinionTexts = () => opinionTexts[useLanguage()];
