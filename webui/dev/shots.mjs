/**
 * Pictures of every page against the mock server, in light, dark and phone width, each checked with axe.
 * `npm run build && node dev/shots.mjs <folder>`; exit status 1 when axe finds something. Development only.
 */
import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { consoleTour } from "./shots-console.mjs";
import { queueTour } from "./shots-queue.mjs";
import { tourVotes } from "./shots-votes.mjs";

const out = process.argv[2] ?? "/tmp/webui-screens";
const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
const MOCK = fileURLToPath(new URL("mock-api.mjs", import.meta.url));
mkdirSync(out, { recursive: true });
const IDEAL = `Sunlight is a **mix of colours**. The air scatters the blue part far more than the red one.

So blue light reaches your eyes from every side, and the whole sky looks blue.`;
let port = Number(process.env.MOCK_PORT ?? 18100);
let violations = 0;

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
});

async function withMock(environment, work) {
  port += 1;
  const mock = spawn(process.execPath, [MOCK, String(port)], { env: { ...process.env, ...environment } });
  await new Promise((ready) => mock.stdout.once("data", ready));
  try {
    await work(`http://127.0.0.1:${port}`);
  } finally {
    mock.kill();
  }
}

async function shoot(page, name) {
  await page.waitForTimeout(350);
  await page.screenshot({ path: `${out}/${name}.png` });
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  if (wide > page.viewportSize().width) {
    violations += 1;
    console.log(name, `is ${wide} px wide on a screen of ${page.viewportSize().width}`);
  }
  // Evaluated, not added as a script: the page's CSP allows none.
  await page.evaluate((await import("node:fs")).readFileSync(AXE, "utf8"));
  const { violations: found } = await page.evaluate(() => globalThis.axe.run());
  violations += found.length;
  for (const one of found)
    console.log(
      name,
      one.id,
      one.nodes.map((node) => node.target.join(" ") + " | " + node.any[0]?.message).slice(0, 4),
    );
}

const say = async (page, text, mode = "duel") => {
  await page.getByLabel("Compare answers").selectOption(mode);
  await page.getByRole("textbox", { name: "Your message" }).fill(text);
  await page.keyboard.press("Enter");
};
const votable = (page) =>
  page.locator('[data-testid="vote-bar"][data-open="true"][data-ready="true"]').waitFor();
const idle = (page) => page.getByRole("button", { name: "Send", exact: true }).waitFor();
const blur = (page) => page.evaluate(() => document.activeElement?.blur());
const press = async (page, key) => {
  await blur(page);
  await page.keyboard.press(key);
};

async function signUp(page, base) {
  await page.goto(`${base}/setup#token=mock`);
  await page.getByLabel("Name").fill("Ada");
  await page.getByLabel("Password").fill("a long enough password");
  await page.getByRole("button", { name: "Create the admin account" }).click();
  await page.getByRole("textbox", { name: "Your message" }).waitFor();
}

async function tour(base, look, options, isPhone) {
  const context = await browser.newContext({ locale: "en-GB", ...options });
  const page = await context.newPage();
  const name = (what) => `${what}-${look}`;
  await page.goto(`${base}/setup#token=mock`);
  await shoot(page, name("setup"));
  await page.getByLabel("Name").fill("Ada");
  await page.getByLabel("Password").fill("a long enough password");
  await page.getByRole("button", { name: "Create the admin account" }).click();
  await page.getByRole("textbox", { name: "Your message" }).waitFor();
  await shoot(page, name("chat-empty"));
  await say(page, "Why is the sky blue?");
  await page.getByText("Sunlight").first().waitFor();
  await page.waitForTimeout(400);
  await shoot(page, name("duel-streaming"));
  if (isPhone) {
    await page.locator('[data-testid="vote-bar"]').waitFor();
    await page
      .getByRole("article", { name: "Answer 1" })
      .and(page.locator("[data-state=finished]"))
      .waitFor();
    await shoot(page, name("duel-one-seen"));
    await page.getByRole("tab", { name: "Answer 2" }).click();
  }
  await votable(page);
  await shoot(page, name("duel-ready"));
  if (isPhone) await page.getByRole("button", { name: "Answer 1 is better" }).click();
  else await page.keyboard.press("1");
  await page.getByText(/^Counted/).waitFor();
  await shoot(page, name("duel-voted"));
  await page.getByRole("button", { name: "Ask others to judge this" }).first().click();
  await page.getByRole("heading", { name: "Ask others to judge this" }).waitFor();
  await shoot(page, name("flag"));
  await page.keyboard.press("Escape");
  await press(page, "z");
  await votable(page);
  await press(page, "d");
  await shoot(page, name("duel-differences"));
  await press(page, "g");
  await page.getByText("True").waitFor();
  await shoot(page, name("guidelines"));
  await page.keyboard.press("Escape");
  await press(page, "0");
  await page.getByText("You said: both bad").waitFor();
  await shoot(page, name("duel-both-bad"));
  await page.getByRole("button", { name: "Write the ideal answer" }).first().click();
  await page.getByRole("textbox", { name: "The ideal answer" }).fill(IDEAL);
  await shoot(page, name("ideal"));
  await page.getByRole("button", { name: "Save as ideal" }).click();
  await page.getByText("Your ideal answer").waitFor();
  await press(page, "k");
  await page.getByRole("heading", { name: "Rank the answers" }).waitFor();
  await page.keyboard.press("2");
  await page.keyboard.press("2");
  await shoot(page, name("ranking"));
  await page.keyboard.press("Escape");
  await say(page, "And how do I drop repeats from a list in Python?", "single");
  await page.getByRole("button", { name: "Good answer" }).waitFor();
  await page.getByRole("button", { name: "Bad answer" }).click();
  await shoot(page, name("single-code"));
  await say(page, "What is the sum of the first hundred numbers? A formula, please.", "single");
  await page.locator(".katex-display").waitFor();
  await idle(page);
  await shoot(page, name("formulas"));
  await page.getByRole("button", { name: "Edit the message" }).last().click();
  await shoot(page, name("edit-message"));
  await page.getByRole("textbox", { name: "Edit the message" }).fill("And of the first thousand? A formula.");
  await page.keyboard.press("Enter");
  await page.getByRole("img", { name: "Wording 2 of 2" }).waitFor();
  await idle(page);
  await shoot(page, name("branches"));
  await say(page, "So who are you?");
  if (isPhone) await page.getByRole("tab", { name: /Answer 2/ }).click();
  await votable(page);
  await press(page, "1");
  await page.getByText(/named its model/).waitFor();
  await shoot(page, name("leak"));
  await say(page, "You are busy, are you not?", "single");
  await page.getByText("Waiting for the model, 2 ahead").waitFor();
  await shoot(page, name("queue"));
  await idle(page);
  await say(page, "Now restart, please.", "single");
  await page.getByText(/What was said until then/).waitFor();
  await shoot(page, name("interrupted"));
  await press(page, "/");
  await page.getByRole("combobox", { name: "Search and commands" }).fill("sky");
  await page.locator("[role=option]").first().waitFor();
  await shoot(page, name("search"));
  await page.keyboard.press("Escape");
  await press(page, "?");
  await page.getByRole("heading", { name: "Keyboard" }).waitFor();
  await shoot(page, name("keys"));
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "System prompt" }).click();
  await page
    .getByRole("textbox", { name: "System prompt" })
    .fill("You are a patient teacher. Answer in two sentences.");
  await shoot(page, name("system-prompt"));
  await page.getByRole("button", { name: "Save" }).click();
  await say(page, "Now fail, please.");
  await page.getByText("This duel does not count").waitFor();
  await shoot(page, name("duel-failed"));
  if (isPhone) {
    await page.getByRole("button", { name: "Show conversations" }).click();
    await page
      .getByRole("button", { name: /^Actions for/ })
      .first()
      .click();
    await shoot(page, name("drawer"));
    await page.keyboard.press("Escape");
    await page.getByRole("link", { name: "Admin" }).click();
  } else {
    await page
      .getByRole("button", { name: /^Actions for/ })
      .first()
      .click();
    await shoot(page, name("conversation-menu"));
    await page.getByRole("menuitem", { name: "Delete" }).click();
    await page.getByText(/^Deleted/).waitFor();
    await shoot(page, name("deleted"));
    await page.getByRole("button", { name: "Undo" }).click();
    await page.getByRole("link", { name: "Admin" }).click();
  }
  await consoleTour(page, (what) => shoot(page, name(what)), options, isPhone);
  await tourVotes(page, base, (what) => shoot(page, name(what)), isPhone);
  await page.goto(`${base}/admin`);
  if (look === "light") {
    await page.getByLabel("Language").selectOption("zh");
    await page.locator("[data-testid=chart-ref_kl]").waitFor();
    await shoot(page, name("admin-zh"));
    await page.getByLabel("语言").selectOption("en");
  }
  await queueTour(page, base, name, shoot, isPhone);
  await context.close();
}

const DESK = { viewport: { width: 1360, height: 860 } };
const PHONE = { viewport: { width: 390, height: 780 }, hasTouch: true, isMobile: true, deviceScaleFactor: 1 };
const fast = { MOCK_SPEED: "1" };
const only = process.argv[3];
const tours = [
  ["light", { ...DESK, colorScheme: "light" }, false],
  ["dark", { ...DESK, colorScheme: "dark" }, false],
  ["phone", { ...PHONE, colorScheme: "light" }, true],
];
try {
  for (const [look, options, isPhone] of tours)
    if (!only || only === look) await withMock(fast, (base) => tour(base, look, options, isPhone));
    else if (only === "votes")
      await withMock(fast, async (base) => {
        const page = await (await browser.newContext({ locale: "en-GB", ...options })).newPage();
        await signUp(page, base);
        await tourVotes(page, base, (what) => shoot(page, `${what}-${look}`), isPhone);
      });
  if (!only || only === "fresh")
    await withMock({ ...fast, MOCK_EMPTY: "1" }, async (base) => {
      const page = await (
        await browser.newContext({ ...DESK, locale: "en-GB", colorScheme: "light" })
      ).newPage();
      await page.goto(`${base}/`);
      await page.getByRole("heading", { name: "Sign in" }).waitFor();
      await shoot(page, "login-light");
      await page.goto(`${base}/setup#token=mock`);
      await page.getByLabel("Name").fill("Ada");
      await page.getByLabel("Password").fill("a long enough password");
      await page.keyboard.press("Enter");
      await page.getByRole("link", { name: "Admin" }).click();
      await page.getByText("No training yet").first().waitFor();
      await shoot(page, "admin-fresh-light");
    });
} finally {
  await browser.close();
}
console.log(violations === 0 ? "axe: nothing found" : `axe: ${violations} found`);
process.exit(violations === 0 ? 0 : 1);
