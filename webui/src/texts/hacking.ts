/** What the reward hacking panel says: loaded with it. */
import { type Language, useLanguage } from "./index";

const en = {
  title: "Reward model and people",
  hint: "The same blind duels between a version and older ones: how often people preferred it, and how often its reward model did.",
  levels: {
    quiet: "People and reward model agree about which version is better",
    warn: "Reward hacking: a warning",
    stop: "Reward hacking: the schedule was paused",
  },
  lookBack: (versions: number) => `The newest ${versions} versions are judged together.`,
  none: "No version has met an older one in blind duels that were scored",
  noneHint:
    "A canary brings such duels: set release.canary_share above 0. Votes are scored while no training runs.",
  chart: (rows: string) => `Preferred by people and by the reward model: ${rows}`,
  row: (version: number, people: string, model: string, n: number) =>
    `v${version}: people ${people}, reward model ${model}, ${n} duels`,
  half: "half",
  people: "People",
  model: "Reward model",
  columns: {
    version: "Version",
    people: "People prefer it",
    model: "Reward model prefers it",
    n: "Duels",
    lead: "Score lead",
    predicted: "Votes predicted",
    length: "Length",
    entropy: "Entropy",
    repeats: "Repeats",
  },
  of: (share: string, n: number) => `${share} of ${n}`,
  interval: (share: string, low: string, high: string) => `${share} (${low} – ${high})`,
  times: (value: string) => `× ${value}`,
};

const zh: typeof en = {
  title: "奖励模型与人",
  hint: "同一批盲评对决（某版本对更早的版本）：人有多常更喜欢它，它的奖励模型又有多常更喜欢它。",
  levels: {
    quiet: "人与奖励模型对哪个版本更好看法一致",
    warn: "奖励作弊：警告",
    stop: "奖励作弊：计划已暂停",
  },
  lookBack: (versions) => `最新的 ${versions} 个版本一起评判。`,
  none: "还没有版本在已评分的盲评对决中遇到更早的版本",
  noneHint: "金丝雀会带来这样的对决：将 release.canary_share 设为大于 0。没有训练运行时才会评分。",
  chart: (rows) => `人与奖励模型的偏好：${rows}`,
  row: (version, people, model, n) => `v${version}：人 ${people}，奖励模型 ${model}，${n} 场对决`,
  half: "一半",
  people: "人",
  model: "奖励模型",
  columns: {
    version: "版本",
    people: "人更喜欢它",
    model: "奖励模型更喜欢它",
    n: "对决",
    lead: "分数领先",
    predicted: "预测对的投票",
    length: "长度",
    entropy: "熵",
    repeats: "重复",
  },
  of: (share, n) => `${n} 中的 ${share}`,
  interval: (share, low, high) => `${share}（${low} – ${high}）`,
  times: (value) => `× ${value}`,
};

export const hackingTexts: Record<Language, typeof en> = { en, zh };
export const useHackingTexts = () => hackingTexts[useLanguage()];
