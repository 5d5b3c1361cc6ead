/** What shows answers and votes on them: one chunk, loaded after the page. */
export { Turn } from "./turn";
export { VoteBar } from "./vote-bar";
