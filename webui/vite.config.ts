/** How the page is built, served while developing, and tested. */
import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

const server = process.env.HEED_SERVER ?? "http://127.0.0.1:8080";
const proxied = { target: server, changeOrigin: false };

/** Every browser that runs this page reads woff2: KaTeX's other fonts would only fill the folder. */
const oneFontFormat: Plugin = {
  name: "one-font-format",
  enforce: "pre",
  transform: (code, id) =>
    /katex(\.min)?\.css/.test(id)
      ? code.replace(/,\s*url\([^)]*\.(?:woff|ttf)\) format\("[a-z]+"\)/g, "")
      : null,
};

export default defineConfig({
  plugins: [oneFontFormat, react(), tailwindcss()],
  build: {
    // The server's CSP allows no data: fonts or scripts, so nothing is inlined into the bundle.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
    // Which file holds which page, for the sizes that budget.mjs holds.
    manifest: true,
  },
  server: { proxy: { "/api": proxied, "/v1": proxied } },
  test: {
    environment: "happy-dom",
    setupFiles: ["test/setup.ts"],
    // axe on a whole page takes seconds where the machine is shared.
    testTimeout: 30_000,
    include: ["test/**/*.test.{ts,tsx}"],
  },
});
