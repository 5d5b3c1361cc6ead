/** What happy-dom lacks and the page uses. */
import { cleanup, configure } from "@testing-library/react";
import { afterEach } from "vitest";

afterEach(cleanup);
// A page in a chunk of its own is read from disk first, which takes its time where the machine is shared.
configure({ asyncUtilTimeout: 5000 });

class NoObserver {
  observe() {}
  unobserve() {}
  disconnect() {}
}
globalThis.ResizeObserver ??= NoObserver as unknown as typeof ResizeObserver;

// A canvas that takes every call and draws nothing.
const pen: unknown = new Proxy(() => pen, { get: () => pen, set: () => true });
HTMLCanvasElement.prototype.getContext = (() => pen) as never;
globalThis.Path2D ??= class {
  rect() {}
  moveTo() {}
  lineTo() {}
  arc() {}
  closePath() {}
} as unknown as typeof Path2D;
