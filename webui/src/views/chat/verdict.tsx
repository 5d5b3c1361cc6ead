/** What became of the vote: saved or not, which versions spoke, how far the next training is, the way back. */
import { lazy, Suspense } from "react";
import type { Duel, DuelChoice } from "../../api";
import { capOf, useActions, useKeys } from "../../keys";
import { outbox, useSending } from "../../outbox";
import { type Texts, useTexts } from "../../texts";
import { problemText } from "../../ui/notice";
import { Reasons } from "./reasons";

const Opinion = lazy(() => import("../opinion"));

function revealText(choice: DuelChoice, a: number, b: number, texts: Texts): string {
  if (a === b) return texts.duel.same(a);
  if (choice === "skip") return texts.duel.skippedVersions(a, b);
  if (choice === "tie") return texts.duel.tiedVersions(a, b);
  if (choice === "both_bad") return texts.duel.badVersions(a, b);
  return choice === "a" ? texts.duel.beat(a, b) : texts.duel.beat(b, a);
}

interface Props {
  duel: Duel;
  choice: DuelChoice | null;
  isLast: boolean;
  /** Opens the editor of the ideal answer. */
  onIdeal: () => void;
}

export function Verdict({ duel, choice, isLast, onIdeal }: Props) {
  const texts = useTexts();
  const keys = useKeys();
  const sending = useSending(duel.id);
  const counted = sending?.state === "counted" ? sending : null;
  const isNew = counted !== null || sending?.state === "sending";
  const a = duel.version_a ?? counted?.counted.reveal?.version_a;
  const b = duel.version_b ?? counted?.counted.reveal?.version_b;
  const leak = duel.vote?.leak ?? counted?.counted.vote.answers.find((one) => one.leak)?.leak;
  const much = sending
    ? "vote" in sending && sending.vote.kind === "duel" && sending.vote.strength === 2
    : duel.vote?.strength === 2;
  const voted = counted?.counted.vote.id ?? duel.vote?.id;
  const canUndo = isLast && isNew && choice !== null && !counted?.problem;
  const undo = () => outbox.undo(duel.id, duel.vote?.id);
  useActions({ voteUndo: canUndo ? undo : undefined });
  const said = choice && choice !== "a" && choice !== "b" ? texts.duel.said[choice] : null;
  return (
    <>
      <div
        role="status"
        data-testid="verdict"
        className="flex flex-wrap items-center gap-x-2.5 gap-y-1.5 text-[0.92rem] text-muted empty:hidden"
      >
        {said && <span className="chip">{said}</span>}
        {choice && much && <span className="chip">{texts.duel.much}</span>}
        {choice && a != null && b != null && (
          <span className="chip chip-good arrive">{revealText(choice, a, b, texts)}</span>
        )}
        {choice && leak && (
          <span className="text-turn" title={leak}>
            {texts.duel.leaked} <q>{leak}</q>
          </span>
        )}
        {counted && !leak && choice !== "skip" && (
          <span>{texts.duel.counted(counted.counted.pending, counted.counted.min_votes)}</span>
        )}
        {sending?.state === "sending" && (
          <span className={sending.tries > 0 ? "text-turn" : ""}>
            {sending.tries > 0 ? texts.duel.kept : texts.duel.saving}
          </span>
        )}
        {counted?.problem && <span className="text-bad">{problemText(counted.problem, texts)}</span>}
        {canUndo && (
          <button type="button" className="btn btn-small" onClick={undo} aria-keyshortcuts={keys.voteUndo}>
            {texts.duel.undo}
            <span className="key max-[760px]:hidden" aria-hidden="true">
              {capOf(keys.voteUndo)}
            </span>
          </button>
        )}
        {isLast && choice === "both_bad" && (
          <button type="button" className="btn btn-small" onClick={onIdeal}>
            {texts.ideal.open}
          </button>
        )}
      </div>
      {choice && voted && sending?.state !== "sending" && (isNew || isLast) && (
        <Suspense fallback={null}>
          <Opinion vote={voted} />
        </Suspense>
      )}
      {isNew && isLast && choice && choice !== "skip" && (
        <Reasons target={duel.id} about={choice === "both_bad" ? "bad" : "good"} />
      )}
    </>
  );
}
