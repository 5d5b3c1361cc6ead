/** What the mock model says, and the past that the mock server starts with. Development only. */

export const SHORT_A = `Sunlight looks white, but it is a **mix of colours**. When it meets the air, the tiny molecules there push the light about.

- Blue light has short waves, so it is pushed about the most.
- Red light has long waves and goes nearly straight through.

So blue light reaches your eyes from every side, and the whole sky looks blue.`;

export const SHORT_B = `Because of something called *Rayleigh scattering*. Light is made of waves, and the air scatters short waves much more strongly than long ones (about as \`1/wavelength^4\`). Violet is even shorter, but our eyes see it badly and the sun sends less of it, so the sky is blue and not violet.

At sunset the light takes a longer way through the air. Most of the blue is gone before it arrives, and the sky turns red.`;

export const CODE = `Here is one way. It keeps the order and runs in linear time:

\`\`\`python
def unique(items):
    """The items without repeats, first ones first."""
    seen = set()
    return [x for x in items if not (x in seen or seen.add(x))]

print(unique([3, 1, 3, 2, 1]))  # [3, 1, 2]
\`\`\`

| Way | Keeps order | Time |
| --- | --- | --- |
| \`set(items)\` | no | O(n) |
| \`dict.fromkeys\` | yes | O(n) |

A shorter one is \`list(dict.fromkeys(items))\`. See [the documentation](https://docs.python.org/3/).`;

export const STORY = `Dear Ms Keller,

I hope you are well. Our invoice no. 1042 of 3 March seems to have slipped through: it was due last week. Could you let me know when we may expect the payment? If it is on its way already, please forget this note.

Kind regards`;

export const MATH = `The sum of the first $n$ numbers is

$$\\sum_{k=1}^{n} k = \\frac{n(n+1)}{2}$$

So for \\(n = 100\\) it is $\\frac{100 \\cdot 101}{2} = 5050$. It costs $5 or $10 to print it on a mug.`;

export const LEAKING = `I am SmolLM2, a small model made to be helpful. Ask me something about the world, about words or about numbers, and I will do what I can to answer it in a way that helps you.`;

export const GUIDELINES = {
  version: 2,
  text: "## What is better?\n\n1. **True** before beautiful: a wrong answer loses to a plain right one.\n2. It answers *what was asked*.\n3. It is as short as it can be, and no shorter.\n\nWhen both are wrong, say **both bad**.",
  by: "Ada",
  at: new Date(Date.now() - 86_400_000).toISOString(),
};

const hoursAgo = (h) => new Date(Date.now() - h * 3_600_000).toISOString();

const check = (name, value, threshold, passed, reason) => ({ name, value, threshold, passed, reason });

export const VERSIONS = () => [
  {
    number: 1,
    parent: null,
    run_id: null,
    reward_model: null,
    folder: "v0001",
    sha256: "5f0c2b61e7ad0c1c9a1b5e4d8c7f6a3b2910fedcba98765432100123456789ab",
    state: "retired",
    reason: null,
    report: null,
    metrics: {},
    created_at: hoursAgo(52),
  },
  {
    number: 2,
    parent: 1,
    run_id: "run_8c21d90a",
    reward_model: 2,
    folder: "v0002",
    sha256: "a91e77c0d2b4f6081a3c5e7092b4d6f8a1c3e5072941b6d8fa0c2e4f6a8b0c1d",
    state: "active",
    reason: null,
    report: {
      passed: true,
      fingerprints: [],
      checks: [
        check("reward_win_rate", 0.617, 0.5, true, "wins 61.7 % of held-out prompts under the reward model"),
        check("ref_kl", 7.42, 30, true, "stays near the reference"),
        check("length_ratio", 1.08, 1.5, true, "answers are about as long as before"),
        check("perplexity_ratio", 1.02, 1.2, true, "language skill is kept"),
      ],
    },
    metrics: { reward_mean: 0.84 },
    created_at: hoursAgo(26),
  },
  {
    number: 3,
    parent: 2,
    run_id: "run_41b7e2f3",
    reward_model: 3,
    folder: "v0003",
    sha256: "c03d5e7f9a1b2c4d6e8f0a1b3c5d7e9f1a2b4c6d8e0f2a3b5c7d9e1f3a4b6c8d",
    state: "rejected",
    reason: "Held back: length_ratio 1.91 is above 1.5.",
    report: {
      passed: false,
      fingerprints: [],
      checks: [
        check("reward_win_rate", 0.702, 0.5, true, "wins 70.2 % of held-out prompts under the reward model"),
        check("ref_kl", 21.8, 30, true, "stays within the bound"),
        check(
          "length_ratio",
          1.91,
          1.5,
          false,
          "answers are nearly twice as long: the policy may have learned length, not quality",
        ),
        check("perplexity_ratio", 1.06, 1.2, true, "language skill is kept"),
      ],
    },
    metrics: { reward_mean: 1.31 },
    created_at: hoursAgo(3),
  },
];

export const TIMELINE = () => [
  { number: 2, previous: 1, actor: "release", reason: "the gate passed", at: hoursAgo(26) },
  { number: 1, previous: null, actor: "setup", reason: "the base model", at: hoursAgo(52) },
];

const DONE = ["freeze", "reward", "ppo", "gate", "release"];
const pastStages = (start, states, summaries) =>
  DONE.map((stage, index) => ({
    stage,
    state: states[index],
    summary: summaries[index],
    started_at: states[index] === "skipped" ? null : hoursAgo(start - index * 0.05),
    ended_at: states[index] === "skipped" ? null : hoursAgo(start - (index + 1) * 0.05),
  }));

const run = (id, hours, extra) => ({
  id,
  state: "succeeded",
  requested_by: "votes",
  attempt: 1,
  token: 1,
  owner: null,
  cancel_requested: false,
  config: {},
  snapshot: null,
  version: null,
  error: null,
  created_at: hoursAgo(hours),
  started_at: hoursAgo(hours),
  ended_at: hoursAgo(hours - 0.25),
  ...extra,
});

export const RUNS = () => [
  run("run_41b7e2f3", 3, {
    version: 3,
    stages: pastStages(
      3,
      ["done", "done", "done", "failed", "skipped"],
      [
        { votes: 131, new_votes: 57, train_pairs: 104, held_out_pairs: 12, weigh_less: 1 },
        {
          held_out_accuracy: 0.69,
          held_back_accuracy: 0.66,
          loss: 0.58,
          passed: true,
          checks: [
            {
              ...check("accuracy", 0.69, 0.6, true, "69% of held-out pairs ranked as the votes say"),
              n: 12,
              low: 0.4,
              high: 0.88,
            },
            check("calibration", 0.02, 0.1, true, "0.020 apart beyond chance"),
          ],
        },
        { steps: 40, reward_mean: 1.31, ref_kl: 21.8 },
        { passed: false, reason: "length_ratio 1.91 is above 1.5" },
        {},
      ],
    ),
  }),
  run("run_77aa01c9", 20, {
    state: "failed",
    requested_by: "schedule",
    error: "trainer ppo ended with exit code 1: out of memory at step 12",
    stages: pastStages(
      20,
      ["done", "done", "failed", "skipped", "skipped"],
      [{ votes: 74 }, { held_out_accuracy: 0.66 }, {}, {}, {}],
    ),
  }),
  run("run_8c21d90a", 26, {
    version: 2,
    stages: pastStages(
      26,
      ["done", "done", "done", "done", "done"],
      [
        { votes: 62, new_votes: 62, train_pairs: 51, held_out_pairs: 6 },
        { held_out_accuracy: 0.71, loss: 0.55 },
        { steps: 40, reward_mean: 0.84, ref_kl: 7.42 },
        { passed: true },
        { version: 2 },
      ],
    ),
  }),
];
