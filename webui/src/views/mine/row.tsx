/** One vote: what was said about what, what became of it, and what can still be changed. */
import { type FormEvent, lazy, Suspense, useId, useState } from "react";
import { Link } from "wouter";
import { api, type DuelChoice, type MyVote, type VoteChange } from "../../api";
import { formatTime } from "../../format";
import { useLanguage } from "../../texts";
import { type Texts, useTexts } from "../../texts/judging";
import { ProblemLine } from "../../ui/notice";

const Opinion = lazy(() => import("../opinion"));
const CHOICES = ["a", "b", "tie", "both_bad", "skip"] as const;

export function VoteRow({ vote, onChanged }: { vote: MyVote; onChanged: () => void }) {
  const texts = useTexts();
  const language = useLanguage();
  const [open, setOpen] = useState(false);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<unknown>(null);
  const send = async (work: () => Promise<unknown>) => {
    setBusy(true);
    setProblem(null);
    try {
      await work();
      onChanged();
    } catch (error) {
      setProblem(error);
    }
    setBusy(false);
  };
  const amend = (change: VoteChange) => void send(() => api.amendVote(vote.id, change));
  const undone = vote.status === "undone";
  const details = `details-${vote.id}`;
  return (
    <li className="card flex flex-col gap-2 p-3 sm:px-4" data-testid="my-vote" data-status={vote.status}>
      <div className="flex flex-wrap items-center gap-x-2.5 gap-y-1">
        <span className={`font-medium ${undone ? "text-muted line-through" : ""}`}>
          {texts.mine.said(vote.choice, vote.strength)}
        </span>
        <Status vote={vote} />
        {vote.early && <span className="chip">{texts.mine.early}</span>}
        <span className="flex-1" />
        <time className="text-[0.87rem] text-muted tabular-nums" dateTime={vote.created_at}>
          {formatTime(vote.created_at, language)}
        </time>
      </div>
      <p className={`truncate ${vote.prompt === null ? "text-muted italic" : ""}`}>
        {vote.prompt ?? texts.mine.gone}
      </p>
      <div className="flex flex-wrap items-center gap-2 text-[0.9rem] text-muted">
        <span>{revealText(vote, texts)}</span>
        {vote.tags.map((tag) => (
          <span key={tag} className="chip">
            {(texts.reasons.names as Record<string, string>)[tag] ?? tag.replaceAll("_", " ")}
          </span>
        ))}
        {vote.comment && <q className="wrap-anywhere">{vote.comment}</q>}
        <span className="flex-1" />
        <button
          type="button"
          className="btn btn-small"
          aria-expanded={open}
          aria-controls={details}
          onClick={() => setOpen(!open)}
        >
          {open ? texts.mine.less : texts.mine.details}
        </button>
        {vote.prompt !== null && (
          <Link href={`/c/${vote.conversation_id}`} className="btn btn-small">
            {texts.mine.openChat}
          </Link>
        )}
        {vote.changeable && !undone && (
          <button
            type="button"
            className="btn btn-small"
            disabled={busy}
            onClick={() => void send(() => api.undoVote(vote.id))}
          >
            {texts.duel.undo}
          </button>
        )}
      </div>
      {problem !== null && <ProblemLine error={problem} />}
      {open && (
        <div id={details} className="flex flex-col gap-3 border-t border-line pt-3">
          <Answers vote={vote} />
          <Suspense fallback={null}>
            <Opinion vote={vote.id} />
          </Suspense>
          {!undone && <Change vote={vote} busy={busy} amend={amend} />}
          {vote.guideline_version !== null && (
            <p className="text-[0.87rem] text-muted">{texts.mine.under(vote.guideline_version)}</p>
          )}
        </div>
      )}
    </li>
  );
}

function Status({ vote }: { vote: MyVote }) {
  const texts = useTexts();
  if (vote.status === "active") return null;
  if (vote.status === "undone") return <span className="chip">{texts.mine.statuses.undone}</span>;
  const leak = vote.answers.find((one) => one.leak)?.leak;
  const [flag] = vote.flags;
  const why = flag ? texts.mine.flags[flag] : vote.exclusion?.reason;
  return (
    <span className="chip chip-turn" title={leak ?? undefined}>
      {leak ? texts.mine.leaked : texts.mine.excluded(why ?? "")}
    </span>
  );
}

/** Which versions the vote was about; they may be known now. */
function revealText(vote: MyVote, texts: Texts): string {
  const versions = vote.answers.map((one) => texts.mine.version(one.version));
  const [a, b] = versions;
  if (vote.kind === "duel" && a && b) {
    if (vote.choice === "a") return texts.mine.over(a, b);
    if (vote.choice === "b") return texts.mine.over(b, a);
    return texts.mine.both(a, b);
  }
  return [...new Set(versions)].join(", ");
}

/** The beginnings of the answers, in the order they were shown. */
function Answers({ vote }: { vote: MyVote }) {
  const texts = useTexts();
  return (
    <div className="grid gap-2.5 sm:grid-cols-2">
      {vote.answers.map((answer, index) => (
        <div key={answer.answer_id} className="rounded-lg bg-sunken p-2.5">
          <p className="mb-1 text-[0.85rem] font-medium text-muted">
            {vote.kind === "edit" && index === 1
              ? texts.ideal.yours
              : texts.chat.answerN(answer.position as 1 | 2)}
            {answer.rank != null && ` · ${texts.mine.rank(answer.rank)}`}
            {` · ${texts.mine.version(answer.version)}`}
          </p>
          <p className="line-clamp-4 text-[0.93rem] wrap-anywhere whitespace-pre-wrap">
            {vote.texts[index] ?? texts.mine.gone}
          </p>
        </div>
      ))}
    </div>
  );
}

interface ChangeProps {
  vote: MyVote;
  busy: boolean;
  amend: (change: VoteChange) => void;
}

/** Another choice, while the vote can be undone; a comment at any time. */
function Change({ vote, busy, amend }: ChangeProps) {
  const texts = useTexts();
  const field = useId();
  const [comment, setComment] = useState(vote.comment ?? "");
  const save = (event: FormEvent) => {
    event.preventDefault();
    amend({ comment: comment.trim() || null });
  };
  const canChoose = vote.kind === "duel" && vote.changeable && !vote.early;
  return (
    <div className="flex flex-wrap items-end gap-3">
      {canChoose && (
        <label className="flex flex-col gap-1 text-[0.87rem] text-muted">
          {texts.mine.change}
          <select
            className="field min-h-8 w-auto py-0 text-[0.92rem]"
            value={vote.choice}
            disabled={busy}
            onChange={(event) => amend({ choice: event.target.value as DuelChoice })}
          >
            {CHOICES.map((choice) => (
              <option key={choice} value={choice}>
                {texts.mine.said(choice, 1)}
              </option>
            ))}
          </select>
        </label>
      )}
      <form className="flex min-w-0 flex-1 basis-64 items-end gap-2" onSubmit={save}>
        <div className="flex min-w-0 flex-1 flex-col gap-1">
          <label htmlFor={field} className="text-[0.87rem] text-muted">
            {texts.reasons.comment}
          </label>
          <input
            id={field}
            className="field min-h-8 py-0 text-[0.92rem]"
            value={comment}
            maxLength={2000}
            onChange={(event) => setComment(event.target.value)}
          />
        </div>
        <button
          type="submit"
          className="btn btn-small"
          disabled={busy || comment.trim() === (vote.comment ?? "")}
        >
          {texts.mine.save}
        </button>
      </form>
    </div>
  );
}
