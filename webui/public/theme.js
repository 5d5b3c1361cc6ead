// Sets light or dark before the first paint; src/theme.ts takes over afterwards.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("heed.theme");
  } catch {
    // A browser that keeps no storage follows the system.
  }
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme =
    chosen === "light" || chosen === "dark" ? chosen : dark ? "dark" : "light";
})();
