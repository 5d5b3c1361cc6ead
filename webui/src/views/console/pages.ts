/** The pages behind the dashboard: where each is, what it is called, and what one must be allowed to do to see it. */
import type { Permission } from "./calls";

export const PAGES = [
  ["/admin", "dashboard", "watch"],
  ["/versions", "versions", "watch"],
  ["/votes", "votes", "review"],
  ["/leaderboard", "leaderboard", "watch"],
  ["/people", "people", "manage"],
  ["/audit", "audit", "manage"],
  ["/system", "system", "watch"],
  ["/settings", "settings", "own"],
] as const satisfies readonly (readonly [string, string, Permission])[];
