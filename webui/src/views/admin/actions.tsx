/** Train now, cancel, roll back: each says what it will do, and why it cannot when it cannot. */
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { api, type Policies, type Status } from "../../api";
import { keys } from "../../queries";
import { useTexts } from "../../texts";
import { Dialog } from "../../ui/dialog";
import { Icon } from "../../ui/icons";
import { ProblemLine } from "../../ui/notice";
import { isOpen, takeFeedEvent } from "./feed";

export function Actions({ status, policies }: { status: Status; policies: Policies | undefined }) {
  const texts = useTexts().admin;
  const client = useQueryClient();
  const [asking, setAsking] = useState<"cancel" | "rollback" | null>(null);
  const train = useMutation({
    mutationFn: api.train,
    onSuccess: (run) => takeFeedEvent(client, { type: "run", data: run }),
    onSettled: () => client.invalidateQueries({ queryKey: keys.status }),
  });
  const { run } = status;
  const target = policies?.previous ?? status.previous;
  return (
    <div className="ml-auto flex flex-col items-stretch gap-1.5 self-center max-lg:ml-0">
      <div className="flex flex-wrap items-center gap-2">
        {run && isOpen(run) ? (
          <button
            type="button"
            className="btn btn-bad"
            onClick={() => setAsking("cancel")}
            disabled={run.cancel_requested}
          >
            <Icon name="close" className="size-4.5" />
            {run.cancel_requested ? texts.actions.cancelling : texts.actions.cancel}
          </button>
        ) : (
          <button
            type="button"
            className="btn btn-main"
            onClick={() => train.mutate()}
            disabled={train.isPending}
          >
            <Icon name="play" className="size-4.5" />
            {texts.actions.train}
          </button>
        )}
        <button
          type="button"
          className="btn"
          onClick={() => setAsking("rollback")}
          disabled={!target}
          title={target ? undefined : texts.actions.rollBackNone}
        >
          <Icon name="back" className="size-4.5" />
          {target ? texts.actions.rollBackTo(target) : texts.actions.rollBack}
        </button>
      </div>
      {train.error && <ProblemLine error={train.error} />}
      {asking === "cancel" && run && <CancelDialog id={run.id} onClose={() => setAsking(null)} />}
      {asking === "rollback" && target && status.active && (
        <RollBackDialog from={status.active.number} to={target} onClose={() => setAsking(null)} />
      )}
    </div>
  );
}

function CancelDialog({ id, onClose }: { id: string; onClose: () => void }) {
  const texts = useTexts().admin.actions;
  const client = useQueryClient();
  const cancel = useMutation({
    mutationFn: () => api.cancel(id),
    onSuccess: () => {
      void client.invalidateQueries({ queryKey: keys.status });
      void client.invalidateQueries({ queryKey: keys.runs });
      onClose();
    },
  });
  return (
    <Dialog title={texts.cancelTitle} onClose={onClose}>
      <p className="mb-4 text-muted">{texts.cancelHint}</p>
      {cancel.error && <ProblemLine error={cancel.error} />}
      <div className="mt-3 flex justify-end gap-2">
        <button type="button" className="btn" onClick={onClose}>
          {texts.keep}
        </button>
        <button
          type="button"
          className="btn btn-bad"
          onClick={() => cancel.mutate()}
          disabled={cancel.isPending}
        >
          {texts.cancel}
        </button>
      </div>
    </Dialog>
  );
}

function RollBackDialog({ from, to, onClose }: { from: number; to: number; onClose: () => void }) {
  const texts = useTexts();
  const words = texts.admin.actions;
  const client = useQueryClient();
  const [reason, setReason] = useState("");
  const rollBack = useMutation({
    mutationFn: () => api.rollBack(reason.trim()),
    onSuccess: () => {
      void client.invalidateQueries({ queryKey: keys.policies });
      void client.invalidateQueries({ queryKey: keys.status });
      onClose();
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (reason.trim()) rollBack.mutate();
  };
  return (
    <Dialog title={words.rollBackTitle(to)} onClose={onClose}>
      <form onSubmit={submit}>
        <p className="mb-4 text-muted">{words.rollBackEffect(from, to)}</p>
        <label className="flex flex-col gap-1">
          <span className="font-medium">{words.reason}</span>
          <textarea
            className="field"
            rows={3}
            required
            maxLength={500}
            value={reason}
            onChange={(event) => setReason(event.target.value)}
            aria-describedby="reason-hint"
          />
          <span id="reason-hint" className="text-[0.87rem] text-muted">
            {words.reasonHint}
          </span>
        </label>
        {rollBack.error && (
          <div className="mt-3">
            <ProblemLine error={rollBack.error} />
          </div>
        )}
        <div className="mt-4 flex justify-end gap-2">
          <button type="button" className="btn" onClick={onClose}>
            {texts.common.cancel}
          </button>
          <button type="submit" className="btn btn-bad" disabled={!reason.trim() || rollBack.isPending}>
            {words.rollBackTo(to)}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
