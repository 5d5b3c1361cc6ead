/** Train now, cancel, pause, roll back: each says what it will do; who may not do it does not see it. */

import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, lazy, Suspense, useState } from "react";
import { api, type Me, type Status } from "../../api";
import { keys, queries } from "../../queries";
import { useConsole, useTexts } from "../../texts/console";
import { Dialog } from "../../ui/dialog";
import { DialogButtons, ReasonField } from "../../ui/dialog-parts";
import { Icon } from "../../ui/icons";
import { ProblemLine } from "../../ui/notice";
import { consoleApi, consoleKeys } from "../console/calls";
import { may } from "../console/guard";
import { RollbackDialog } from "../versions/rollback";
import { isOpen } from "./feed";

const TrainDialog = lazy(() => import("./train"));

export function Actions({ status, me }: { status: Status; me: Me }) {
  const texts = useTexts().admin;
  const words = useConsole().training;
  const [asking, setAsking] = useState<"train" | "cancel" | "pause" | null>(null);
  /** As it was asked for: while it happens, what is live and where one could go back to change. */
  const [rollback, setRollback] = useState<{ from: number; to: number } | null>(null);
  const close = () => setAsking(null);
  const policies = useQuery(queries.policies);
  const { run } = status;
  const target = policies.data?.previous ?? status.previous;
  return (
    <div className="ml-auto flex flex-wrap items-center gap-2 self-center max-lg:ml-0">
      {may(me, "train") &&
        (run && isOpen(run) ? (
          <button
            type="button"
            className="btn btn-small btn-bad"
            onClick={() => setAsking("cancel")}
            disabled={run.cancel_requested}
          >
            <Icon name="close" className="size-4.5" />
            {run.cancel_requested ? texts.actions.cancelling : texts.actions.cancel}
          </button>
        ) : (
          <button type="button" className="btn btn-small btn-main" onClick={() => setAsking("train")}>
            <Icon name="play" className="size-4.5" />
            {texts.actions.train}
          </button>
        ))}
      {may(me, "train") && (
        <button type="button" className="btn btn-small" onClick={() => setAsking("pause")}>
          <Icon name={status.paused ? "play" : "stop"} className="size-4.5" />
          {status.paused ? words.resume : words.pause}
        </button>
      )}
      {may(me, "release") && (
        <button
          type="button"
          className="btn btn-small"
          onClick={() => target && status.active && setRollback({ from: status.active.number, to: target })}
          disabled={!target}
          title={target ? undefined : texts.actions.rollBackNone}
        >
          <Icon name="back" className="size-4.5" />
          {target ? texts.actions.rollBackTo(target) : texts.actions.rollBack}
        </button>
      )}
      {asking === "train" && (
        <Suspense fallback={null}>
          <TrainDialog onClose={close} />
        </Suspense>
      )}
      {asking === "cancel" && run && <CancelDialog id={run.id} onClose={close} />}
      {asking === "pause" && <PauseDialog paused={status.paused != null} onClose={close} />}
      {rollback && <RollbackDialog {...rollback} onClose={() => setRollback(null)} />}
    </div>
  );
}

function PauseDialog({ paused, onClose }: { paused: boolean; onClose: () => void }) {
  const texts = useTexts();
  const words = useConsole().training;
  const client = useQueryClient();
  const [reason, setReason] = useState("");
  const act = useMutation({
    mutationFn: async () => {
      if (paused) await consoleApi.resume();
      else await consoleApi.pause(reason.trim());
    },
    onSuccess: () => {
      void client.invalidateQueries({ queryKey: keys.status });
      void client.invalidateQueries({ queryKey: consoleKeys.schedule });
      onClose();
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    act.mutate();
  };
  return (
    <Dialog title={paused ? words.resumeTitle : words.pauseTitle} onClose={onClose}>
      <form onSubmit={submit} className="flex flex-col gap-3">
        <p className="text-muted">{paused ? words.resumeHint : words.pauseHint}</p>
        {!paused && <ReasonField label={texts.admin.actions.reason} value={reason} onChange={setReason} />}
        {act.error && <ProblemLine error={act.error} />}
        <DialogButtons onClose={onClose} disabled={act.isPending || (!paused && !reason.trim())}>
          {paused ? words.resume : words.pause}
        </DialogButtons>
      </form>
    </Dialog>
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
