/** One answer: its text as it comes, how it ended, and what can be done with it. */
import { type ReactNode, useRef, useState } from "react";
import type { Answer } from "../../api";
import { rankable, type ShownTurn } from "../../branch";
import { useActions } from "../../keys";
import { useAhead, useLiveAnswer } from "../../live";
import { Markdown } from "../../markdown/blocks";
import { givenVote, outbox, useSending } from "../../outbox";
import { useTexts } from "../../texts";
import { CopyButton, copyText } from "../../ui/copy";
import { Icon } from "../../ui/icons";
import { RetryButton, type TurnActions } from "./actions";
import { AttemptPager } from "./pager";
import { Reasons } from "./reasons";

/** What is known this moment: while it streams the events are ahead of what was fetched. */
export function useAnswerNow(
  answer: Answer | undefined,
): Pick<Answer, "text" | "state" | "finish_reason" | "error"> {
  const live = useLiveAnswer(answer?.stream ?? null, answer?.id ?? "");
  if (!answer) return { text: "", state: "failed", finish_reason: null, error: null };
  return answer.state === "streaming" && live ? live : answer;
}

export type AnswerNow = ReturnType<typeof useAnswerNow>;

interface BodyProps {
  now: AnswerNow;
  /** The other side has no words yet, so this one keeps its own back. */
  veiled?: boolean;
  stream?: string | null;
}

export function AnswerBody({ now, veiled = false, stream = null }: BodyProps) {
  const texts = useTexts();
  const ahead = useAhead(stream);
  const streaming = now.state === "streaming";
  if (streaming && (veiled || !now.text))
    return (
      <div role="status" className="flex min-h-20 flex-col gap-3 py-2">
        <span className={ahead ? "text-[0.9rem] text-muted" : "sr-only"}>
          {ahead ? texts.chat.ahead(ahead) : texts.chat.waiting}
        </span>
        <div className="waiting-line w-11/12" />
        <div className="waiting-line w-3/4" />
        <div className="waiting-line w-1/2" />
      </div>
    );
  return (
    <>
      {now.text && <Markdown text={now.text} streaming={streaming} />}
      <Ending now={now} />
    </>
  );
}

/** A server that went away took the rest of the answer with it; the words until then are kept. */
export const isInterrupted = (now: AnswerNow) =>
  now.state === "failed" && /^the server /.test(now.error ?? "");

function Ending({ now }: { now: AnswerNow }) {
  const texts = useTexts();
  if (isInterrupted(now))
    return (
      <p role="alert" className="mt-3 flex items-start gap-2 rounded-lg bg-turn-soft px-3 py-2 text-turn">
        <Icon name="warn" className="mt-0.5 size-4.5" />
        <span>
          <strong className="font-semibold">{texts.chat.interrupted}.</strong> {texts.chat.interruptedHint}
        </span>
      </p>
    );
  if (now.state === "failed")
    return (
      <p role="alert" className="mt-3 flex items-start gap-2 rounded-lg bg-bad-soft px-3 py-2 text-bad">
        <Icon name="warn" className="mt-0.5 size-4.5" />
        <span>
          <strong className="font-semibold">{texts.chat.failed}.</strong> {texts.chat.failedHint}
        </span>
      </p>
    );
  if (now.state === "stopped") return <p className="mt-3 text-[0.9rem] text-muted">{texts.chat.stopped}</p>;
  if (now.state === "finished" && now.finish_reason === "length")
    return <p className="mt-3 text-[0.9rem] text-muted">{texts.chat.cut}</p>;
  return null;
}

interface Props {
  answer: Answer;
  turn: ShownTurn;
  isLast: boolean;
  actions: TurnActions;
}

export function SingleAnswer({ answer, turn, isLast, actions }: Props) {
  const texts = useTexts();
  const now = useAnswerNow(answer);
  const streaming = now.state === "streaming";
  const streamed = useRef(false);
  if (streaming) streamed.current = true;
  return (
    <article
      aria-label={answer.edited_from ? texts.ideal.yours : texts.chat.answer}
      aria-busy={streaming}
      className="mx-auto flex w-full max-w-190 flex-col gap-2"
      data-testid="answer"
      data-state={now.state}
    >
      {answer.edited_from && (
        <span className={`chip w-fit ${answer.withdrawn ? "" : "chip-good"}`}>
          {answer.withdrawn ? texts.ideal.withdrawn : texts.ideal.yours}
        </span>
      )}
      <AnswerBody now={now} stream={answer.stream} />
      <p role="status" className="sr-only">
        {streamed.current && now.state === "finished" && texts.chat.done}
      </p>
      {!streaming && (
        <AnswerTools answer={answer} now={now} turn={turn} isLast={isLast} actions={actions}>
          {answer.policy_version !== null && !answer.edited_from && (
            <span className="ml-1 text-[0.82rem] text-muted">
              {texts.common.version(answer.policy_version)}
            </span>
          )}
        </AnswerTools>
      )}
    </article>
  );
}

interface ToolsProps extends Props {
  now: AnswerNow;
  children?: ReactNode;
}

/** What can be done with an answer that has ended. On the last turn each has a key. */
export function AnswerTools({ answer, now, turn, isLast, actions, children }: ToolsProps) {
  const texts = useTexts();
  const [why, setWhy] = useState(false);
  const sending = useSending(answer.id);
  const said = givenVote(sending)?.kind === "thumb" ? thumbOf(sending) : answer.thumb;
  const canVote = now.state !== "failed" && answer.policy_version !== null && !answer.edited_from;
  const canEdit = now.state !== "failed" && now.text !== "" && answer.policy_version !== null;
  const canAsk = isLast && now.state !== "failed";
  const ranked = isLast ? rankable(turn) : [];
  const canRank = ranked.length > 1 && ranked.length <= 8;

  const vote = (choice: "up" | "down") => {
    if (choice !== said) outbox.cast({ kind: "thumb", answer_id: answer.id, choice });
    setWhy(true);
  };
  const compare = () => !actions.busy && actions.compare(turn.message.id);
  useActions({
    thumbUp: isLast && canVote ? () => vote("up") : undefined,
    thumbDown: isLast && canVote ? () => vote("down") : undefined,
    again: canAsk ? compare : undefined,
    rank: canRank ? () => actions.rank(ranked) : undefined,
    ideal: isLast && canEdit ? () => actions.ideal(answer) : undefined,
    copy: isLast && now.text ? () => copyText(now.text, texts.chat.answerCopied) : undefined,
  });
  const button = (
    icon: Parameters<typeof Icon>[0]["name"],
    label: string,
    run: () => void,
    pressed?: boolean,
  ) => (
    <button
      type="button"
      className="icon-btn"
      aria-label={label}
      title={label}
      aria-pressed={pressed}
      disabled={pressed === undefined && actions.busy}
      onClick={run}
    >
      <Icon name={icon} className="size-4" />
    </button>
  );
  return (
    <>
      <div className="-ml-1.5 flex flex-wrap items-center gap-0.5">
        {canVote && button("up", texts.chat.good, () => vote("up"), said === "up")}
        {canVote && button("down", texts.chat.bad, () => vote("down"), said === "down")}
        {now.text && <CopyButton text={now.text} label={texts.chat.copyAnswer} />}
        {isLast && <ResumeButton answer={answer} now={now} actions={actions} />}
        {isLast && now.state === "failed" && <RetryButton turn={turn} actions={actions} />}
        {canAsk && button("again", texts.chat.again, compare)}
        {canEdit && button("pencil", texts.ideal.open, () => actions.ideal(answer))}
        {canRank && button("rank", texts.ranking.open(ranked.length), () => actions.rank(ranked))}
        <AttemptPager turn={turn} isLast={isLast} actions={actions} />
        {children}
        <span role="status" className="ml-1 text-[0.82rem] text-muted">
          {sending?.state === "counted" && texts.duel.thumbSaved}
          {sending?.state === "sending" && sending.tries > 0 && texts.duel.kept}
          {sending?.state === "refused" && texts.duel.refused}
        </span>
      </div>
      {why && isLast && said && givenVote(sending) && (
        <Reasons
          key={said}
          target={answer.id}
          about={said === "up" ? "good" : "bad"}
          onClose={() => setWhy(false)}
        />
      )}
    </>
  );
}

/** Goes on where an answer was interrupted or stopped. */
export function ResumeButton({ answer, now, actions }: Pick<ToolsProps, "answer" | "now" | "actions">) {
  const texts = useTexts();
  if (!now.text || !(isInterrupted(now) || now.state === "stopped")) return null;
  return (
    <button
      type="button"
      className="btn btn-small mx-1"
      disabled={actions.busy}
      onClick={() => actions.resume(answer)}
    >
      <Icon name="play" className="size-4" />
      {texts.chat.resume}
    </button>
  );
}

function thumbOf(sending: ReturnType<typeof useSending>): "up" | "down" | null {
  const vote = givenVote(sending);
  return vote?.kind === "thumb" ? vote.choice : null;
}
