/** Taking votes out of training, with a reason and after a look at what it means; and putting them back. */

import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { useTexts } from "../../texts/explorer";
import { Dialog } from "../../ui/dialog";
import { DialogButtons } from "../../ui/dialog-parts";
import { Loading, ProblemLine } from "../../ui/notice";
import { type Chosen, explorer, type Reason, type Selection } from "./calls";

const REASONS: Reason[] = ["spam", "wrong_language", "private_data", "guideline_breach", "leak", "test"];

interface Props {
  chosen: Chosen;
  onClose: () => void;
  onDone: () => void;
}

export function ExcludeDialog({ chosen, onClose, onDone }: Props) {
  const texts = useTexts();
  const words = texts.votes;
  const [reason, setReason] = useState<Reason>("spam");
  const [note, setNote] = useState("");
  const preview = useQuery({
    queryKey: ["exclusion", chosen],
    queryFn: () => explorer.exclude(chosen, "test", "", true),
    staleTime: 0,
  });
  const exclude = useChange(() => explorer.exclude(chosen, reason, note, false), onDone);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    exclude.mutate();
  };
  return (
    <Dialog title={words.excludeTitle} onClose={onClose}>
      <form onSubmit={submit} className="flex flex-col gap-3">
        <p className="text-muted">{words.excludeHint}</p>
        <Preview preview={preview} />
        <label className="flex flex-col gap-1">
          <span className="font-medium">{words.reason}</span>
          <select
            className="field"
            value={reason}
            onChange={(event) => setReason(event.target.value as Reason)}
          >
            {REASONS.map((one) => (
              <option key={one} value={one}>
                {words.reasons[one]}
              </option>
            ))}
          </select>
        </label>
        <label className="flex flex-col gap-1">
          <span className="font-medium">{words.note}</span>
          <input
            className="field"
            maxLength={400}
            value={note}
            onChange={(event) => setNote(event.target.value)}
          />
        </label>
        {exclude.error && <ProblemLine error={exclude.error} />}
        <DialogButtons onClose={onClose} disabled={!preview.data?.votes || exclude.isPending} bad>
          {words.excludeN(preview.data?.votes ?? 0)}
        </DialogButtons>
      </form>
    </Dialog>
  );
}

export function RestoreDialog({ chosen, onClose, onDone }: Props) {
  const texts = useTexts();
  const words = texts.votes;
  const preview = useQuery({
    queryKey: ["restoration", chosen],
    queryFn: () => explorer.restore(chosen, true),
    staleTime: 0,
  });
  const restore = useChange(() => explorer.restore(chosen, false), onDone);
  return (
    <Dialog title={words.restoreTitle} onClose={onClose}>
      <div className="flex flex-col gap-3">
        <Preview preview={preview} />
        {restore.error && <ProblemLine error={restore.error} />}
        <div className="flex justify-end gap-2">
          <button type="button" className="btn" onClick={onClose}>
            {texts.common.cancel}
          </button>
          <button
            type="button"
            className="btn btn-main"
            disabled={!preview.data?.votes || restore.isPending}
            onClick={() => restore.mutate()}
          >
            {words.restoreN(preview.data?.votes ?? 0)}
          </button>
        </div>
      </div>
    </Dialog>
  );
}

function useChange(change: () => Promise<Selection>, onDone: () => void) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: change,
    onSuccess: async () => {
      await Promise.all(
        ["votes", "vote", "statistics"].map((key) => client.invalidateQueries({ queryKey: [key] })),
      );
      onDone();
    },
  });
}

interface PreviewProps {
  preview: { data: Selection | undefined; error: Error | null; refetch: () => unknown };
}

function Preview({ preview }: PreviewProps) {
  const texts = useTexts().votes;
  if (preview.error) return <ProblemLine error={preview.error} retry={() => void preview.refetch()} />;
  if (!preview.data) return <Loading lines={1} />;
  const { votes, annotators, used_in, left, ratings } = preview.data;
  const rating = (value: number | null) => (value === null ? "–" : value.toFixed(0));
  return (
    <div role="status" className="flex flex-col gap-2 rounded-lg bg-sunken px-3 py-2">
      <p>
        {texts.preview(votes, annotators.length)}
        {used_in.length > 0 && ` ${texts.previewUsed(used_in.map((one) => `v${one}`).join(", "))}`}
        {left > 0 && ` ${texts.previewLeft(left)}`}
      </p>
      {ratings.length > 0 ? (
        <div className="overflow-x-auto">
          <table className="w-full text-left text-[0.92rem] tabular-nums">
            <caption className="text-left text-muted">{texts.effect}</caption>
            <thead>
              <tr>
                {[texts.columns.version, texts.ratingNow, texts.ratingThen, texts.duelsThen].map((head) => (
                  <th key={head} scope="col" className="pr-3 font-medium">
                    {head}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {ratings.map((one) => (
                <tr key={one.number}>
                  <td>v{one.number}</td>
                  <td>{rating(one.before)}</td>
                  <td className={rating(one.before) === rating(one.after) ? "" : "font-semibold"}>
                    {rating(one.after)}
                  </td>
                  <td>
                    {one.n_before} → {one.n_after}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      ) : (
        votes > 0 && <p className="text-muted">{texts.noEffect}</p>
      )}
    </div>
  );
}
