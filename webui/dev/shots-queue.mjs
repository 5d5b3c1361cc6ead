/** Pictures of the queue and of My votes, for shots.mjs. Development only. */

const LINES = '{"prompt": "What is a prime number?"}\n{"prompt": "Name three rivers."}';

export async function queueTour(page, base, name, shoot, isPhone) {
  await page.goto(`${base}/queue`);
  await page.locator('[data-testid="answer-1"]').waitFor();
  await shoot(page, name("judging"));
  if (isPhone) {
    await page.getByRole("tab", { name: "Answer 2" }).click();
    await page.locator('[data-testid="vote-bar"][data-open="true"]').waitFor();
    await shoot(page, name("judging-second"));
    await page.getByRole("button", { name: "Answer 1 is better" }).click();
  } else {
    await page.locator('[data-testid="vote-bar"][data-open="true"]').waitFor();
    await page.keyboard.press("1");
  }
  await page.getByText(/^Saved: Answer 1/).waitFor();
  await shoot(page, name("judging-next"));
  if (isPhone) {
    await page.getByRole("tab", { name: "Answer 2" }).click();
    await page.getByRole("button", { name: "Answer 1 is better" }).click();
  } else await page.keyboard.press("2");
  await page.getByText("You have judged all there is").waitFor();
  await shoot(page, name("judging-done"));
  await page.getByRole("button", { name: "Manage" }).click();
  await page.getByRole("textbox", { name: "or paste lines here" }).fill(LINES);
  await page.getByRole("button", { name: "Add to the queue" }).click();
  await page.getByText("2 prompts added.").waitFor();
  await shoot(page, name("judging-manage"));
  await page.goto(`${base}/mine`);
  await page.getByTestId("my-vote").first().waitFor();
  await page.getByRole("button", { name: "Details" }).first().click();
  await shoot(page, name("mine"));
  await page.getByLabel("State").selectOption("excluded");
  await page.getByText("Not used: an answer named its model").waitFor();
  await shoot(page, name("mine-excluded"));
}
