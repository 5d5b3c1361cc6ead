/** What the judging queue and the list of one's own votes say, in English. */

const many = (n: number, one: string, more: string) => `${n} ${n === 1 ? one : more}`;

export const en = {
  queue: {
    title: "Judging queue",
    progress: (done: number, of: number) => `${done} of ${of} verdicts`,
    yours: (done: number, left: number) => `${done} by you, ${left} left for you`,
    pace: (seconds: string) => `about ${seconds} s each`,
    manage: "Manage",
    toTasks: "Back to judging",
    last: (said: string) => `Saved: ${said}.`,
    undone: "Taken back. It comes before you again.",
    empty: "Nothing waits for you",
    emptyHint: "When an admin adds prompts, they appear here.",
    allDone: "You have judged all there is",
    othersHave: (n: number) =>
      `Others have ${many(n, "item", "items")} before them just now; some may come free.`,
    lookAgain: "Look again",
    prompt: "The message that is answered",
    system: "System prompt",
    giveBack: "Give this one back",
    unread: "New to you",
    haveRead: "I have read this",
    add: "Add prompts",
    addHint:
      "A JSONL file, one prompt a line. With two answers of your own those are judged, else the live model writes them. With gold the verdict is known: the line measures annotators and never trains.",
    file: "JSONL file",
    lines: "or paste lines here",
    overlap: "Annotators for each prompt",
    addThem: "Add to the queue",
    added: (added: number, known: number) =>
      `${many(added, "prompt", "prompts")} added${known ? `, ${known} were there already` : ""}.`,
    guidelinesHint: "What should annotators prefer? Markdown.",
    saveAs: (version: number) => `Save as version ${version}`,
    annotators: "Annotators",
    columns: {
      name: "Name",
      verdicts: "Verdicts",
      gold: "Known verdicts met",
      self: "Same when asked again",
      seconds: "Seconds each",
    },
    items: "Prompts in the queue",
    itemsN: (n: number) => `${many(n, "prompt", "prompts")} in the queue`,
    noItems: "The queue is empty",
    noItemsHint: "Add prompts, or let people put messages of their chats before others.",
    verdictsOf: (n: number, of: number) => `${n} / ${of}`,
    known: (verdict: string) => `known: ${verdict}`,
    asked: { random: "asked by chance", uncertain: "asked as unsure" },
    remove: (prompt: string) => `Remove "${prompt}"`,
  },
  mine: {
    title: "My votes",
    week: (n: number) => `${n} in the last seven days`,
    kind: "Kind",
    kinds: { duel: "Duels", thumb: "Thumbs", ranking: "Rankings", edit: "Ideal answers" },
    everyKind: "Every kind",
    status: "State",
    statuses: { active: "Counted", undone: "Undone", excluded: "Not used" },
    everyStatus: "Every state",
    none: "You have not voted yet",
    noneHint: "Compare two answers in a chat, or judge prompts of the queue: your votes are kept here.",
    noneSuch: "No vote is like that",
    showAll: "Show all",
    more: "Show more",
    said: (choice: string, strength: number) => {
      const much = strength === 2 ? "much " : "";
      const said: Record<string, string> = {
        a: `Answer 1 is ${much}better`,
        b: `Answer 2 is ${much}better`,
        tie: "Tie",
        both_bad: "Both bad",
        skip: "Skipped",
        up: "Good answer",
        down: "Bad answer",
        ranked: "Ranking",
        edited: "Ideal answer",
      };
      return said[choice] ?? `${choice}`;
    },
    version: (n: number) => (n === 0 ? "given text" : `v${n}`),
    over: (better: string, worse: string) =>
      better === worse ? `both ${better}` : `${better} over ${worse}`,
    both: (a: string, b: string) => (a === b ? `both ${a}` : `${a} and ${b}`),
    rank: (n: number) => `rank ${n}`,
    early: "Early",
    leaked: "Not used: an answer named its model",
    flags: {
      duplicate: "a duplicate",
      too_quick: "too quick to have been read",
      same_key: "the same side again and again",
      one_side: "nearly always one side",
      trial: "new accounts are on trial",
    } as Record<string, string>,
    excluded: (reason: string) => `Not used: ${reason}`,
    gone: "This chat was deleted",
    details: "Details",
    less: "Less",
    openChat: "Open the chat",
    change: "Choice",
    save: "Save",
    under: (n: number) => `Cast under version ${n} of the guidelines`,
  },
};

export type JudgingTexts = typeof en;
