/** Pictures of the pages behind the dashboard. Part of shots.mjs. Development only. */

/** A wide or long page whole: the window grows to it for one picture. */
async function whole(page, options, isPhone, height, shoot) {
  await page.setViewportSize({ width: isPhone ? 390 : 1360, height });
  await shoot();
  await page.setViewportSize(options.viewport);
}

export async function consoleTour(page, shoot, options, isPhone) {
  await page.getByTestId("chart-ref_kl").waitFor();
  await shoot("admin-idle");
  if (isPhone) await page.getByRole("region", { name: "State" }).getByRole("button").first().click();
  await whole(page, options, isPhone, isPhone ? 6600 : 3900, () => shoot("admin-whole"));
  await page.getByRole("button", { name: /^Roll back/ }).click();
  await page.getByRole("list", { name: "Preflight" }).waitFor();
  await shoot("rollback");
  await page.getByRole("button", { name: "Cancel", exact: true }).click();
  await page.getByRole("button", { name: "Change the rules" }).click();
  await page.getByLabel("Quiet hours").fill("22-6");
  await page.keyboard.press("Enter");
  await page.getByRole("alert").waitFor();
  await shoot("rules");
  await page.getByRole("button", { name: "Cancel", exact: true }).click();
  await page.getByRole("button", { name: "Train now" }).click();
  await page.getByRole("dialog").getByText("Settings it would use").waitFor();
  await shoot("train");
  await page.getByRole("dialog").getByText("Otherwise in this training").click();
  await page.getByLabel("Policy updates").fill("0");
  await page.keyboard.press("Tab");
  await page.getByRole("alert").waitFor();
  await shoot("train-options");
  await page.getByLabel("Policy updates").fill("8");
  await page.keyboard.press("Tab");
  await page.getByRole("alert").waitFor({ state: "detached" });
  await page.getByRole("dialog").getByRole("button", { name: "Train now" }).click();
  await page.locator("[data-testid=chart-ref_kl]:not([data-steps='0'])").waitFor();
  await page.getByLabel("Smoothing").fill("0.6");
  await page.waitForTimeout(1500);
  await shoot("admin-running");
  await page.getByRole("button", { name: "Cancel training" }).click();
  await shoot("cancel");
  await page.keyboard.press("Escape");
  await page.getByRole("link", { name: "Versions" }).click();
  await page.getByTestId("version-3").click();
  await page.getByTestId("drawer").getByText("Trained on").waitFor();
  await shoot("versions");
  await page.getByText("What v2 and v3 say to the same prompts").click();
  await page.getByTestId("samples").waitFor();
  await page.getByRole("button", { name: "Compare v3" }).click();
  await page.getByRole("button", { name: "Compare v2" }).click();
  await whole(page, options, isPhone, isPhone ? 4200 : 1900, () => shoot("versions-whole"));
  await page.getByTestId("version-1").click();
  await page.getByTestId("drawer").getByRole("button", { name: "Promote" }).click();
  await page.getByRole("list", { name: "Preflight" }).waitFor();
  await shoot("promote");
  await page.keyboard.press("Escape");
  for (const [link, wait] of [
    ["People", "person-Chen Wei"],
    ["System", "problem-no_train_worker"],
    ["Settings", "key-notebook"],
  ]) {
    await page.getByRole("link", { name: link, exact: true }).click();
    await page.getByTestId(wait).waitFor();
    await shoot(link.toLowerCase());
  }
  await page.getByRole("link", { name: "People", exact: true }).click();
  await page.evaluate(() => fetch("/api/v1/mock/stale", { method: "POST" }));
  await page.getByRole("button", { name: "Invite somebody" }).click();
  await shoot("invite");
  await page.getByRole("dialog").getByRole("button", { name: "Make a link" }).click();
  await page.getByRole("heading", { name: "Type your password again" }).waitFor();
  await shoot("confirm");
  await page.getByRole("textbox", { name: "Password" }).fill("a long enough password");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "The link is ready" }).waitFor();
  await shoot("invite-made");
  await page.keyboard.press("Escape");
  await page.getByRole("link", { name: "Audit", exact: true }).click();
  await page.getByRole("cell", { name: "rolled back to" }).waitFor();
  await page.getByRole("button", { name: "Check the chain" }).click();
  await page.getByText("Whole").waitFor();
  await shoot("audit");
  await page.getByRole("link", { name: "Dashboard" }).click();
}
