/** One vote: the thread, both answers as they were shown, what became of it, and the reviewer's own verdict. */
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type ReactNode, type RefObject, useId, useMemo } from "react";
import { formatDuration, formatNumber, formatTime } from "../../format";
import { useLanguage } from "../../texts";
import { useTexts as useConsoleTexts } from "../../texts/console";
import { useTexts } from "../../texts/explorer";
import { Icon } from "../../ui/icons";
import { Loading, ProblemLine } from "../../ui/notice";
import Opinion from "../opinion";
import { explorer, type ReviewChoice, type VoteDetail, type VoteRow } from "./calls";
import { diff, type Piece } from "./diff";
import { outcomeWords, statusChip, versionsText } from "./words";

interface Props {
  id: string;
  panel: RefObject<HTMLElement | null>;
  reviews: boolean;
  differences: boolean;
  onDifferences: () => void;
  onClose: () => void;
  onExclude: () => void;
  onRestore: () => void;
  onAsk: () => void;
  onOpen: (id: string) => void;
}

export function Detail({ id, panel, ...does }: Props) {
  const texts = useTexts().votes;
  const found = useQuery({ queryKey: ["vote", id], queryFn: () => explorer.detail(id) });
  return (
    <section ref={panel} className="detail" aria-label={texts.detail} tabIndex={0}>
      <div className="sticky top-0 z-1 flex items-center gap-2 border-b border-line bg-surface px-4 py-2">
        <h2 className="flex-1 font-semibold">{texts.detail}</h2>
        {does.reviews && found.data && found.data.answers.length > 0 && (
          <button type="button" className="btn btn-small" onClick={does.onAsk}>
            {texts.askOthers}
            <span className="key">R</span>
          </button>
        )}
        {does.reviews && found.data?.row.status === "active" && (
          <button type="button" className="btn btn-bad btn-small" onClick={does.onExclude}>
            {texts.exclude}
            <span className="key">E</span>
          </button>
        )}
        {does.reviews && found.data?.row.status === "excluded" && (
          <button type="button" className="btn btn-small" onClick={does.onRestore}>
            {texts.restore}
            <span className="key">U</span>
          </button>
        )}
        <button type="button" className="icon-btn" onClick={does.onClose} aria-label={texts.closeDetail}>
          <Icon name="close" />
        </button>
      </div>
      {found.isPending && <Loading lines={6} />}
      {found.error && !found.data && (
        <div className="p-4">
          <ProblemLine error={found.error} retry={() => void found.refetch()} />
        </div>
      )}
      {found.data && <Whole vote={found.data} {...does} />}
    </section>
  );
}

type WholeProps = { vote: VoteDetail } & Omit<Props, "id" | "panel">;

function Whole({ vote, reviews, differences, onDifferences, onOpen }: WholeProps) {
  const texts = useTexts();
  const words = texts.votes;
  const { states } = useConsoleTexts().admin.versions;
  const { row } = vote;
  return (
    <div className="flex flex-col gap-5 p-4">
      <Facts row={row} />
      <Part title={words.thread}>
        {vote.thread.length === 0 && <p className="text-muted">{words.textsGone}</p>}
        {vote.thread.map((turn, index) => (
          <div key={index} className="mb-2">
            <p className="eyebrow">{words.roles[turn.role]}</p>
            <p className="sensitive whitespace-pre-wrap wrap-anywhere">{turn.content}</p>
          </div>
        ))}
      </Part>
      <Answers vote={vote} differences={differences} onDifferences={onDifferences} />
      {reviews && <ReviewBar vote={vote} />}
      <Part title={words.history}>
        <ul className="flex flex-col gap-1">
          {vote.changes.map((one, index) => (
            <Line key={index} at={one.at}>
              {words.change(words.changes[one.what as keyof typeof words.changes] ?? one.what, one.by)}
              {one.reason && `: ${one.reason}`}
            </Line>
          ))}
        </ul>
      </Part>
      <Part title={words.usedIn}>
        {vote.used_in.length === 0 ? (
          <p className="text-muted">{words.usedNever}</p>
        ) : (
          <p className="flex flex-wrap gap-1.5">
            {vote.used_in.map((one) => (
              <span key={one.number} className="chip">
                {texts.common.version(one.number)} · {states[one.state]}
              </span>
            ))}
          </p>
        )}
      </Part>
      {vote.others.length > 0 && (
        <Part title={words.others}>
          <ul className="flex flex-col">
            {vote.others.map((one) => (
              <li key={one.id}>
                <button type="button" className="facet" onClick={() => onOpen(one.id)}>
                  <span className="truncate">{one.annotator}</span>
                  <span className="font-medium">{outcomeWords(one, texts)}</span>
                </button>
              </li>
            ))}
          </ul>
        </Part>
      )}
    </div>
  );
}

function Facts({ row }: { row: VoteRow }) {
  const texts = useTexts();
  const words = texts.votes;
  const language = useLanguage();
  const values = words.values as Record<string, string>;
  const chips = [...row.flags.map((one) => values[`flag_${one}`] ?? one), ...row.tags];
  return (
    <div>
      <p className="text-[1.15rem] font-semibold">{outcomeWords(row, texts)}</p>
      <p className="text-[0.9rem] text-muted">
        {[
          row.annotator,
          formatTime(row.at, language),
          row.shown_ms != null && words.took(formatDuration(row.shown_ms, language)),
          row.versions.length > 0 && versionsText(row),
          row.guideline_version != null && words.guideline(row.guideline_version),
        ]
          .filter(Boolean)
          .join(" · ")}
      </p>
      <p className="mt-2 flex flex-wrap gap-1.5">
        <span className={statusChip(row)}>{values[`status_${row.status}`]}</span>
        {chips.map((one) => (
          <span key={one} className="chip">
            {one}
          </span>
        ))}
      </p>
      {row.reason && <p className="mt-2 text-bad">{words.because(row.reason)}</p>}
      {row.comment && <p className="mt-2 border-l-2 border-line-strong pl-3 wrap-anywhere">{row.comment}</p>}
      {row.margin != null && (
        <p className="mt-2 text-[0.9rem] text-muted">
          {words.scored(formatNumber(row.margin, language), values[`rm_${row.reward_model}`] ?? "")}
        </p>
      )}
      <Opinion vote={row.id} />
    </div>
  );
}

function Answers({
  vote,
  differences,
  onDifferences,
}: {
  vote: VoteDetail;
  differences: boolean;
  onDifferences: () => void;
}) {
  const texts = useTexts();
  const words = texts.votes;
  const [one, other] = vote.answers;
  const compared = useMemo(
    () => (differences && one && other && vote.answers.length === 2 ? diff(one.text, other.text) : null),
    [differences, one, other, vote.answers.length],
  );
  if (vote.answers.length === 0) return null;
  return (
    <Part
      title={words.answers}
      action={
        vote.answers.length === 2 && (
          <button type="button" className="btn btn-small" aria-pressed={differences} onClick={onDifferences}>
            {differences ? words.hideDifferences : words.showDifferences}
            <span className="key">D</span>
          </button>
        )
      }
    >
      <div className="flex flex-col gap-3">
        {vote.answers.map((answer, index) => (
          <article
            key={answer.id}
            className="rounded-lg border border-line p-3"
            aria-label={texts.chat.answerN(answer.position)}
          >
            <p className="mb-1.5 flex flex-wrap items-center gap-1.5 text-[0.87rem]">
              <span className="font-semibold">{texts.chat.answerN(answer.position)}</span>
              <span className="chip">{texts.common.version(answer.version)}</span>
              {answer.preferred && (
                <span className="chip chip-good">
                  <Icon name="check" className="size-3.5" />
                  {words.preferred}
                </span>
              )}
              {answer.rank != null && <span className="chip">{words.rank(answer.rank)}</span>}
              {answer.leak && <span className="chip chip-turn">{words.named(answer.leak)}</span>}
              {answer.tokens != null && <span className="text-muted">{words.tokens(answer.tokens)}</span>}
            </p>
            {compared ? (
              <Compared pieces={compared[index] ?? []} />
            ) : (
              <p className="sensitive whitespace-pre-wrap wrap-anywhere">{answer.text}</p>
            )}
          </article>
        ))}
      </div>
    </Part>
  );
}

function Compared({ pieces }: { pieces: Piece[] }) {
  return (
    <p className="sensitive whitespace-pre-wrap wrap-anywhere">
      {pieces.map((piece, index) =>
        piece.same ? (
          <span key={index}>{piece.text}</span>
        ) : (
          <mark key={index} className="only-here">
            {piece.text}
          </mark>
        ),
      )}
    </p>
  );
}

const DUEL: ReviewChoice[] = ["a", "tie", "both_bad", "b"];
const THUMB: ReviewChoice[] = ["up", "down"];
export const REVIEW_KEYS: Record<string, ReviewChoice> = { "1": "a", "2": "b", "=": "tie", "0": "both_bad" };

/** What the reviewer would have said. It never changes the annotator's vote. */
function ReviewBar({ vote }: { vote: VoteDetail }) {
  const texts = useTexts();
  const words = texts.votes;
  const review = useReview(vote.row.id);
  const values = words.values as Record<string, string>;
  const choices = vote.row.kind === "duel" ? DUEL : vote.row.kind === "thumb" ? THUMB : [];
  const last = vote.reviews.at(-1);
  const key = (choice: ReviewChoice) => Object.keys(REVIEW_KEYS).find((one) => REVIEW_KEYS[one] === choice);
  if (choices.length === 0) return null;
  return (
    <Part title={words.review}>
      <p className="mb-2 text-[0.9rem] text-muted">
        {last ? words.reviewed(last.by, values[`outcome_${last.choice}`] ?? last.choice) : words.reviewHint}
      </p>
      <div role="group" aria-label={words.review} className="flex flex-wrap gap-1.5">
        {choices.map((choice) => (
          <button
            key={choice}
            type="button"
            className="btn btn-small"
            aria-pressed={last?.choice === choice}
            disabled={review.isPending}
            onClick={() => review.mutate(choice)}
          >
            {vote.row.kind === "duel" && <span className="key">{key(choice)}</span>}
            {values[`outcome_${choice}`]}
          </button>
        ))}
      </div>
      {review.error && <ProblemLine error={review.error} />}
    </Part>
  );
}

export function useReview(id: string | null) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (choice: ReviewChoice) => explorer.review(id ?? "", choice),
    onSuccess: () =>
      Promise.all([
        client.invalidateQueries({ queryKey: ["vote", id] }),
        client.invalidateQueries({ queryKey: ["votes"] }),
      ]),
  });
}

function Part({ title, action, children }: { title: string; action?: ReactNode; children: ReactNode }) {
  const id = useId();
  return (
    <section aria-labelledby={id}>
      <div className="mb-1.5 flex items-center justify-between gap-2">
        <h3 id={id} className="eyebrow">
          {title}
        </h3>
        {action}
      </div>
      {children}
    </section>
  );
}

function Line({ at, children }: { at: string; children: ReactNode }) {
  const language = useLanguage();
  return (
    <li className="flex gap-3 text-[0.9rem]">
      <time dateTime={at} className="w-24 shrink-0 text-muted">
        {formatTime(at, language)}
      </time>
      <span className="min-w-0 wrap-anywhere">{children}</span>
    </li>
  );
}
