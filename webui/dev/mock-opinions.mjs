/** What the mock's reward model thinks: nothing for some seconds, then scores; and a watch that warns. Development only. */

const asked = new Map();
const THINKS_MS = 4000;
const waiting = {
  state: "waiting",
  reward_model: null,
  answers: [],
  prefers: null,
  chance: null,
  learned_from: false,
};

function opinion(id) {
  if (!asked.has(id)) asked.set(id, Date.now());
  if (Date.now() - asked.get(id) < THINKS_MS) return waiting;
  const answers = [
    { answer_id: "a", score: 1.304 },
    { answer_id: "b", score: -0.196 },
  ];
  return { ...waiting, state: "scored", reward_model: 3, answers, prefers: "a", chance: 0.8176 };
}

const share = (hits, n) => {
  const half = 1.96 * Math.sqrt(((hits / n) * (1 - hits / n)) / n);
  return { share: hits / n, low: Math.max(0, hits / n - half), high: Math.min(1, hits / n + half), n };
};
const version = (number, wins, liked, n, lead, length) => ({
  number,
  people: share(wins, n),
  model: share(liked, n),
  lead,
  predicted: share(Math.round(n * 0.66), n + 40),
  length,
  entropy: 0.9 - number / 20,
  repeats: number / 100,
});
const HACKING = {
  level: "warn",
  words:
    "the reward model prefers v5 and v6 to older versions in 83% (75% to 89%) of 120 blind duels, people in 32% (25% to 41%); v6: answers 1.9 times as long",
  since: new Date().toISOString(),
  judged: [6, 5],
  look_back: 3,
  versions: [
    version(2, 74, 80, 110, 0.8, 1.05),
    version(3, 61, 78, 96, 1.1, 1.1),
    version(4, 40, 66, 78, 1.4, 1.3),
    version(5, 24, 52, 64, 1.9, 1.6),
    version(6, 15, 48, 56, 2.4, 1.9),
  ],
};

export const OPINION_ROUTES = [
  ["GET", /^votes\/([^/]+)\/opinion$/, ([id]) => [200, opinion(id)]],
  ["GET", /^hacking$/, () => [200, HACKING]],
];
