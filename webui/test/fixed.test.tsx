/** The fixed prompts side by side: a column a look along the training, what has not changed said as such. */
import { screen, within } from "@testing-library/react";
import { describe, expect, it } from "vitest";
import { fixedTexts } from "../src/texts/fixed";
import { isAccessible, open, serverOfEachTest } from "./page";

const held = serverOfEachTest();
const look = (update: number, ...answers: string[]) => ({
  update,
  answers: answers.map((answer, index) => ({
    prompt: `Question ${index}`,
    answer,
    tokens: 3,
    ended: answer !== "cut",
  })),
});

describe("the fixed prompts", () => {
  it("stand side by side, the first, the last and two between", async () => {
    held.current.admin();
    const fixed = [
      look(0, "one", "cut"),
      look(4, "one", "two"),
      look(8, "x", "y"),
      look(12, "three", "two"),
      look(16, "four", "two"),
    ];
    held.current.on("GET /api/v1/runs/run_1/samples", () => ({ items: [], fixed }));
    open("/admin");
    const table = within(await screen.findByTestId("fixed"));
    const rows = table.getAllByRole("row").map((row) => [...row.children].map((cell) => cell.textContent));
    expect(rows).toEqual([
      ["Prompt", "before", "after 4", "after 12", "after 16"],
      ["Question 0", "one", "as before", "three", "four"],
      ["Question 1", "cut …", "two", "as before", "as before"],
    ]);
    await isAccessible();
    expect(Object.keys(fixedTexts.zh)).toEqual(Object.keys(fixedTexts.en));
  });
});
