/** Pictures of the vote explorer and the leaderboard: a part of the tour of shots.mjs. Development only. */
export async function tourVotes(page, base, shoot, isPhone) {
  const small = page.viewportSize();
  await page.goto(`${base}/votes`);
  await page.getByRole("row").nth(3).waitFor();
  await shoot("votes");
  if (isPhone) {
    await page.getByRole("button", { name: "Filters" }).click();
    await shoot("votes-filters");
    await page.getByRole("button", { name: "Show the votes" }).click();
  } else {
    await page.getByRole("button", { name: /^Disagreed/ }).click();
    await page.waitForURL(/rm%3Adisagree/);
    await page.keyboard.press("j");
    await page.keyboard.press("x");
    await page.keyboard.press("j");
    await page.keyboard.press("x");
  }
  await page.getByRole("row").nth(2).click();
  await page.getByText("Conversation up to the turn").waitFor();
  await page.keyboard.press("d");
  await shoot("votes-detail");
  if (isPhone) {
    await page.setViewportSize({ width: 390, height: 1500 });
    await shoot("votes-detail-whole");
    await page.setViewportSize(small);
  }
  await page.keyboard.press("b");
  await shoot("votes-blurred");
  await page.keyboard.press("b");
  await page.keyboard.press("e");
  await page.getByText(/will change/).waitFor();
  await shoot("votes-exclude");
  await page.getByRole("button", { name: /^Exclude \d/ }).click();
  await page.getByRole("dialog").waitFor({ state: "detached" });
  if (isPhone) await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Export", exact: true }).click();
  await shoot("votes-export");
  await page.getByRole("button", { name: "Cancel" }).click();
  await page.getByRole("button", { name: "Import", exact: true }).click();
  const line = JSON.stringify({
    prompt: "Which river is the longest?",
    chosen: "The Nile.",
    rejected: "No idea.",
  });
  await page.getByLabel(/^File/).setInputFiles({
    name: "pairs.jsonl",
    mimeType: "application/json",
    buffer: Buffer.from(`${line}\noops\n`),
  });
  await page.getByText(/can be imported/).waitFor();
  await shoot("votes-import");
  await page.keyboard.press("Escape");
  await page.goto(`${base}/votes?q=outcome:nothing`);
  await page.getByText("No vote fits this search").waitFor();
  await shoot("votes-nothing");
  await page.goto(`${base}/leaderboard`);
  await page.getByTestId("rating-3").waitFor();
  await shoot("leaderboard");
  await page.getByLabel("Style control").check();
  await page.getByText("What style was worth").waitFor();
  if (isPhone) await page.setViewportSize({ width: 390, height: 1500 });
  await shoot("leaderboard-style");
  if (isPhone) await page.setViewportSize(small);
}
