/** What the reward model thought of the answers of a vote: fetched after the vote, and looked for until it is there. */
import { useQuery } from "@tanstack/react-query";
import { call } from "../api";
import type { components } from "../api-types";
import { formatNumber, formatShare } from "../format";
import { useLanguage, useTexts } from "../texts";
import { useOpinionTexts } from "../texts/opinion";

type OpinionOut = components["schemas"]["OpinionOut"];

const FIRST_WAIT_MS = 5000;
const LONGEST_WAIT_MS = 120_000;

/** It comes within a minute or two, or after a training: asked often at first, then seldom. */
export const waitMs = (asked: number) => Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 1.25 ** asked);

export default function Opinion({ vote }: { vote: string }) {
  const words = useOpinionTexts();
  const answerN = useTexts().chat.answerN;
  const language = useLanguage();
  const { data } = useQuery({
    queryKey: ["opinion", vote],
    queryFn: () => call<OpinionOut>("GET", `/api/v1/votes/${encodeURIComponent(vote)}/opinion`),
    refetchInterval: ({ state }) => (state.data?.state === "waiting" ? waitMs(state.dataUpdateCount) : false),
  });
  if (!data || data.state === "none") return null;
  if (data.state === "waiting" || data.reward_model == null)
    return (
      <p className="text-[0.87rem] text-muted" data-testid="opinion">
        {words.waiting}
      </p>
    );
  const scores = data.answers
    .map((one, index) =>
      words.score(answerN(index + 1), formatNumber(Number(one.score.toFixed(2)), language)),
    )
    .join(", ");
  const chosen =
    data.chance == null
      ? data.answers.length === 2 && words.even
      : words.chosen(answerN(data.prefers === "a" ? 1 : 2), formatShare(data.chance, language));
  return (
    <p className="text-[0.87rem] text-muted tabular-nums" data-testid="opinion">
      {[words.scores(data.reward_model, scores), chosen, data.learned_from && words.learned]
        .filter(Boolean)
        .join(" · ")}
    </p>
  );
}
