/**
 * One person's path through the page, in a real browser: the set-up link, a duel, a vote by key, the admin
 * page, Train now. Prints as JSON what was seen; exit status 1 when something was missing.
 *
 * BASE_URL=http://127.0.0.1:8080 SETUP_LINK=http://127.0.0.1:8080/setup#token=... node e2e/path.mjs
 * Optional: CHROMIUM (its path), ANSWER_TIMEOUT_S (120), SCREENS (a folder to keep a picture of each page in).
 */
import { chromium } from "playwright-core";

const { BASE_URL, SETUP_LINK, SCREENS } = process.env;
if (!BASE_URL || !SETUP_LINK) throw new Error("set BASE_URL and SETUP_LINK");
const PATIENCE_MS = 1000 * Number(process.env.ANSWER_TIMEOUT_S ?? 120);
const NAME = "admin";
const PASSWORD = "a long enough password";

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});
const page = await browser.newPage({ viewport: { width: 1280, height: 800 }, locale: "en-GB" });
const seen = { steps: [], errors: [], otherHosts: [], leaks: [] };
page.on("pageerror", (error) => seen.errors.push(String(error)));
page.on("console", (message) => {
  // The first look for a session answers 401: that is how the page learns that nobody is signed in.
  if (message.type() === "error" && !/status of 401/.test(message.text())) seen.errors.push(message.text());
});
page.on("request", (request) => {
  const host = new URL(request.url()).host;
  if (host && host !== new URL(BASE_URL).host) seen.otherHosts.push(host);
});

async function step(name, work) {
  const started = Date.now();
  const found = await work();
  if (SCREENS) await page.screenshot({ path: `${SCREENS}/${seen.steps.length + 1}-${name}.png` });
  seen.steps.push({ name, ms: Date.now() - started, ...found });
}

let failure = null;
try {
  await step("sign-in-by-link", async () => {
    await page.goto(SETUP_LINK);
    await page.getByLabel("Name").fill(NAME);
    await page.getByLabel("Password").fill(PASSWORD);
    await page.getByRole("button", { name: "Create the admin account" }).click();
    await page.getByRole("textbox", { name: "Your message" }).waitFor();
    return { url: page.url() };
  });
  await step("duel", async () => {
    await page.getByLabel("Compare answers").selectOption("duel");
    await page.getByRole("textbox", { name: "Your message" }).fill("Why is the sky blue?");
    await page.keyboard.press("Enter");
    await page.locator('[data-testid="vote-bar"][data-open="true"]').waitFor({ timeout: PATIENCE_MS });
    const text = (side) => page.getByRole("article", { name: `Answer ${side}` }).innerText();
    const answers = [await text(1), await text(2)];
    for (const one of answers) if (/\bv\d+\b/.test(one.split("\n")[0])) seen.leaks.push(one);
    return { answers: answers.map((one) => one.length), url: page.url() };
  });
  await step("vote-by-key", async () => {
    await page.keyboard.press("1");
    await page.getByText(/^Counted, /).waitFor();
    return { verdict: (await page.getByTestId("verdict").innerText()).split("\n") };
  });
  await step("undo-and-vote-much-better", async () => {
    await page.getByRole("button", { name: "Undo" }).waitFor();
    await page.locator("#content").click({ position: { x: 5, y: 5 } });
    await page.keyboard.press("z");
    await page.locator('[data-testid="vote-bar"][data-open="true"]').waitFor();
    await page.evaluate(() => document.activeElement?.blur());
    await page.keyboard.press("Shift+Digit1");
    await page.getByText(/^Counted, 1 /).waitFor();
    await page.getByText("Much better").waitFor();
    return {};
  });
  await step("second-duel", async () => {
    // One vote judges the reward model and one trains it: a training needs two.
    await page.getByRole("textbox", { name: "Your message" }).fill("And why is grass green?");
    await page.keyboard.press("Enter");
    await page.locator('[data-testid="vote-bar"][data-open="true"]').waitFor({ timeout: PATIENCE_MS });
    await page.keyboard.press("2");
    await page.getByText(/^Counted, 2 /).waitFor();
    return {};
  });
  await step("reload", async () => {
    await page.reload();
    await page.getByText("Your choice").first().waitFor();
    return { verdict: (await page.getByTestId("verdict").first().innerText()).split("\n") };
  });
  await step("search", async () => {
    await page.evaluate(() => document.activeElement?.blur());
    await page.keyboard.press("/");
    await page.getByRole("combobox", { name: "Search and commands" }).fill("grass green");
    await page.getByRole("option").filter({ hasText: "grass green" }).waitFor();
    await page.keyboard.press("Escape");
    return {};
  });
  await step("delete-and-undo", async () => {
    const menu = page.getByRole("button", { name: /^Actions for/ }).first();
    await menu.click();
    await page.getByRole("menuitem", { name: "Delete" }).click();
    await page.getByRole("button", { name: "Undo" }).click();
    await page.getByText("Your choice").first().waitFor();
    return {};
  });
  await step("admin", async () => {
    await page.getByRole("link", { name: "Admin" }).click();
    await page.getByRole("button", { name: "Train now" }).waitFor();
    return {
      strip: (await page.getByRole("region", { name: "State" }).innerText()).split("\n").filter(Boolean),
    };
  });
  await step("train-now", async () => {
    await page.getByRole("button", { name: "Train now" }).click();
    await page.getByRole("dialog").getByText("Settings it would use").waitFor();
    await page.getByRole("dialog").getByRole("button", { name: "Train now" }).click();
    await page.getByRole("button", { name: "Cancel training" }).waitFor();
    await page
      .locator("[data-testid^=chart-]:not([data-steps='0'])")
      .first()
      .waitFor({ timeout: PATIENCE_MS });
    const charts = await page
      .locator("[data-testid^=chart-]")
      .evaluateAll((all) =>
        Object.fromEntries(all.map((one) => [one.dataset.testid, Number(one.dataset.steps)])),
      );
    return {
      charts,
      stages: (await page.getByRole("list", { name: "The nine steps of the loop" }).innerText()).split("\n"),
    };
  });
} catch (error) {
  failure = String(error).split("\n").slice(0, 3).join(" ");
  if (SCREENS) await page.screenshot({ path: `${SCREENS}/failure.png` });
}
console.log(
  JSON.stringify(
    {
      ok: !failure && seen.errors.length + seen.otherHosts.length + seen.leaks.length === 0,
      failure,
      ...seen,
    },
    null,
    2,
  ),
);
await browser.close();
process.exit(failure || seen.errors.length || seen.otherHosts.length || seen.leaks.length ? 1 : 0);
