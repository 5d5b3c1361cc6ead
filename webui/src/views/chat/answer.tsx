/** One answer: its text as it comes, how it ended, and what can be done with it. */
import { lazy, Suspense, useRef } from "react";
import type { Answer } from "../../api";
import type { ShownTurn } from "../../branch";
import { useLiveAnswer } from "../../live";
import { outbox, useSending } from "../../outbox";
import { useTexts } from "../../texts";
import { CopyButton } from "../../ui/copy";
import { Icon } from "../../ui/icons";
import { Pager, RetryButton, type TurnActions } from "./turn";

// A first visit shows no answer yet, so the markdown code comes after the page; it is asked for at once.
// When it cannot be had (an old tab after an update) the text stands as it was written.
const Plain = ({ text }: { text: string; streaming: boolean }) => (
  <div className="prose whitespace-pre-wrap">{text}</div>
);
const markdown = import("../../markdown/blocks").catch(() => ({ default: Plain }));
const Markdown = lazy(() => markdown);

/** What is known this moment: while it streams the events are ahead of what was fetched. */
export function useAnswerNow(
  answer: Answer | undefined,
): Pick<Answer, "text" | "state" | "finish_reason" | "error"> {
  const live = useLiveAnswer(answer?.stream ?? null, answer?.id ?? "");
  if (!answer) return { text: "", state: "failed", finish_reason: null, error: null };
  return answer.state === "streaming" && live ? live : answer;
}

export type AnswerNow = ReturnType<typeof useAnswerNow>;

/** `veiled`: the other side has no words yet, so this one keeps its own back. */
export function AnswerBody({ now, veiled = false }: { now: AnswerNow; veiled?: boolean }) {
  const texts = useTexts();
  const streaming = now.state === "streaming";
  if (streaming && (veiled || !now.text))
    return (
      <div role="status" className="flex min-h-20 flex-col gap-3 py-2">
        <span className="sr-only">{texts.chat.waiting}</span>
        <div className="waiting-line w-11/12" />
        <div className="waiting-line w-3/4" />
        <div className="waiting-line w-1/2" />
      </div>
    );
  return (
    <>
      {now.text && (
        <Suspense fallback={<Plain text={now.text} streaming={streaming} />}>
          <Markdown text={now.text} streaming={streaming} />
        </Suspense>
      )}
      <Ending now={now} />
    </>
  );
}

function Ending({ now }: { now: AnswerNow }) {
  const texts = useTexts();
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
      aria-label={texts.chat.answer}
      aria-busy={streaming}
      className="mx-auto flex w-full max-w-190 flex-col gap-2"
      data-testid="answer"
      data-state={now.state}
    >
      <AnswerBody now={now} />
      <p role="status" className="sr-only">
        {streamed.current && now.state === "finished" && texts.chat.done}
      </p>
      {!streaming && (
        <div className="-ml-1.5 flex flex-wrap items-center gap-0.5">
          {now.state !== "failed" && <Thumbs answer={answer} />}
          {now.text && <CopyButton text={now.text} label={texts.chat.copyAnswer} />}
          {isLast && now.state === "failed" && <RetryButton turn={turn} actions={actions} />}
          {isLast && now.state !== "failed" && (
            <button
              type="button"
              className="icon-btn"
              onClick={() => actions.again(turn.message.id)}
              disabled={actions.busy}
              aria-label={texts.chat.again}
              title={texts.chat.again}
            >
              <Icon name="again" className="size-4" />
            </button>
          )}
          <Pager turn={turn} actions={actions} />
          {answer.policy_version !== null && (
            <span className="ml-1 text-[0.82rem] text-muted">
              {texts.common.version(answer.policy_version)}
            </span>
          )}
        </div>
      )}
    </article>
  );
}

function Thumbs({ answer }: { answer: Answer }) {
  const texts = useTexts();
  const sending = useSending(answer.id);
  const said = sending && sending.state !== "refused" ? sending.vote.choice : answer.thumb;
  const vote = (choice: "up" | "down") => {
    if (choice !== said) outbox.cast({ kind: "thumb", answer_id: answer.id, choice });
  };
  return (
    <>
      <button
        type="button"
        className="icon-btn"
        aria-pressed={said === "up"}
        aria-label={texts.chat.good}
        title={texts.chat.good}
        onClick={() => vote("up")}
      >
        <Icon name="up" className="size-4" />
      </button>
      <button
        type="button"
        className="icon-btn"
        aria-pressed={said === "down"}
        aria-label={texts.chat.bad}
        title={texts.chat.bad}
        onClick={() => vote("down")}
      >
        <Icon name="down" className="size-4" />
      </button>
      <span role="status" className="text-[0.82rem] text-muted">
        {sending?.state === "counted" && texts.duel.thumbSaved}
        {sending?.state === "sending" && sending.tries > 0 && texts.duel.kept}
        {sending?.state === "refused" && texts.duel.refused}
      </span>
    </>
  );
}
