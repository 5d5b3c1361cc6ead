/** A person without a mouse: they press keys, and must always see where they are. */

/** Run in the page: what has the focus, and whether one sees it. */
function lookAtFocus() {
  const at = document.activeElement;
  if (!at || at === document.body) return null;
  const name = `${at.tagName.toLowerCase()}${at.id ? `#${at.id}` : ""} "${(at.getAttribute("aria-label") || at.textContent || at.getAttribute("name") || "").trim().slice(0, 40)}"`;
  // Its own look, or that of what stands around it: a field may be drawn by its frame.
  const look = () => {
    const seen = [];
    for (let one = at, n = 0; one && n < 4; one = one.parentElement, n++) {
      const style = getComputedStyle(one);
      const outline = style.outlineStyle === "none" ? "" : `${style.outlineWidth} ${style.outlineColor}`;
      seen.push(outline, style.borderColor, style.boxShadow, style.backgroundColor);
    }
    return seen.join("|");
  };
  const focused = look();
  at.blur();
  const plain = look();
  at.focus({ preventScroll: true });
  const box = at.getBoundingClientRect();
  const isOnScreen =
    box.bottom > 0 &&
    box.right > 0 &&
    box.top < innerHeight &&
    box.left < innerWidth &&
    box.width * box.height > 0;
  // What lies over its middle, where that is on the screen, must be it or a part of it.
  const [x, y] = [box.left + box.width / 2, box.top + box.height / 2];
  const over = document.elementFromPoint(x, y);
  const isCovered =
    over !== null && !at.contains(over) && !over.contains(at) && !over.closest("label")?.contains(at);
  const trouble = [
    focused === plain ? "looks as without the focus" : "",
    isOnScreen ? "" : "is not on the screen",
    isCovered ? `lies below ${over.tagName.toLowerCase()}` : "",
  ];
  return { name, trouble: trouble.filter(Boolean).join(", ") };
}

/** `unseen` gets a line for each stop at which the focus could not be seen. */
export async function keyboardOf(page, unseen) {
  // Without motion a look is there at once.
  await page.emulateMedia({ reducedMotion: "reduce" });
  await page.addInitScript(() => {
    addEventListener("pointerdown", () => sessionStorage.setItem("pointer", "used"), { capture: true });
  });
  const press = (key) => page.keyboard.press(key);
  const look = async () => {
    const found = await page.evaluate(lookAtFocus);
    if (found?.trouble) unseen.push(`${new URL(page.url()).pathname}: ${found.name} ${found.trouble}`);
    return found?.name ?? "nothing";
  };
  return {
    press,
    look,
    type: (text) => page.keyboard.type(text),
    usedPointer: () => page.evaluate(() => sessionStorage.getItem("pointer") === "used"),
    /** Tab, or Shift+Tab, until the focus is there; every stop on the way must be seen. */
    async tabTo(target, key = "Tab") {
      await target.waitFor();
      const stops = [];
      for (let n = 0; n < 250; n++) {
        if (await target.evaluate((one) => one === document.activeElement)) return stops.length;
        await press(key);
        stops.push(await look());
      }
      throw new Error(`${key} never comes to ${target}; it stops at ${stops.slice(0, 40).join(" > ")}`);
    },
    /** Through the palette. */
    async command(label) {
      await press("Control+k");
      await page.getByRole("combobox", { name: "Search and commands" }).waitFor();
      await look();
      await page.keyboard.type(label);
      const option = page.getByRole("option", { name: label, exact: true });
      await option.waitFor();
      for (let n = 0; n < 40 && (await option.getAttribute("aria-selected")) !== "true"; n++)
        await press("ArrowDown");
      await press("Enter");
    },
  };
}
