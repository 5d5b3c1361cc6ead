/** The canary that runs: how it does against the active version, and the three ways to end it. */

import { useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import type { Me } from "../../api";
import { formatShare, formatTime } from "../../format";
import { keys } from "../../queries";
import { useLanguage } from "../../texts";
import { useConsole, useTexts } from "../../texts/console";
import { Dialog } from "../../ui/dialog";
import { DialogButtons, ReasonField } from "../../ui/dialog-parts";
import { ProblemLine } from "../../ui/notice";
import { type Canary, consoleApi, consoleKeys } from "../console/calls";
import { useFresh } from "../console/fresh";
import { Card, may } from "../console/guard";
import { useStatistics } from "../console/statistics";
import { Guards } from "./guards";
import { RAMP } from "./promote";

type Act = { kind: "share"; share: number } | { kind: "promoted" | "rolled_back" | "stopped" };

export function CanaryCard({ canary, active, me }: { canary: Canary; active: number | null; me: Me }) {
  const texts = useTexts();
  const words = useConsole().versions;
  const language = useLanguage();
  const statistics = useStatistics();
  const [asking, setAsking] = useState<Act | null>(null);
  const pair = active === null ? undefined : statistics.pairOf(canary.number, active);
  const percent = (share: number) => formatShare(share, language);
  const next = RAMP.find((step) => step > canary.share + 1e-9);
  return (
    <Card
      id="canary-title"
      title={words.canaryOf(canary.number, percent(canary.share))}
      hint={`${texts.admin.strip.since(formatTime(canary.started_at, language))} · ${canary.reason}`}
    >
      <p className="mb-3">
        {pair && pair.rate !== null && active !== null
          ? words.winRate(
              canary.number,
              active,
              percent(pair.rate),
              percent(pair.low ?? 0),
              percent(pair.high ?? 1),
              pair.n,
            )
          : statistics.missing
            ? words.noStatistics
            : words.noDuels(canary.number, active ?? 0)}{" "}
        {statistics.data?.canary ? words.verdicts[statistics.data.canary.state] : ""}{" "}
        {statistics.data?.canary?.needs ? words.needs(statistics.data.canary.needs) : ""}{" "}
        {canary.ramp?.length && canary.next_at
          ? words.ramp(percent(canary.ramp[0] ?? 1), canary.next_at)
          : ""}
      </p>
      <Guards canary={statistics.data?.canary ?? null} />
      {may(me, "release") && (
        <div className="flex flex-wrap gap-2">
          {next !== undefined && next < 1 && (
            <button type="button" className="btn" onClick={() => setAsking({ kind: "share", share: next })}>
              {words.raise(percent(next))}
            </button>
          )}
          <button type="button" className="btn btn-main" onClick={() => setAsking({ kind: "promoted" })}>
            {words.promote}
          </button>
          <button type="button" className="btn" onClick={() => setAsking({ kind: "stopped" })}>
            {words.stop}
          </button>
          <button type="button" className="btn btn-bad" onClick={() => setAsking({ kind: "rolled_back" })}>
            {words.takeBack}
          </button>
        </div>
      )}
      {asking && <ReasonDialog act={asking} canary={canary} onClose={() => setAsking(null)} />}
    </Card>
  );
}

function ReasonDialog({ act: wanted, canary, onClose }: { act: Act; canary: Canary; onClose: () => void }) {
  const texts = useTexts();
  const words = useConsole().versions;
  const language = useLanguage();
  const client = useQueryClient();
  const [reason, setReason] = useState("");
  const { act, asking, error } = useFresh(
    async () => {
      if (wanted.kind === "share") await consoleApi.changeShare(wanted.share, reason.trim());
      else await consoleApi.endCanary(wanted.kind, reason.trim());
    },
    () => {
      for (const queryKey of [keys.policies, keys.status, consoleKeys.history])
        void client.invalidateQueries({ queryKey });
      onClose();
    },
  );
  const submit = (event: FormEvent) => {
    event.preventDefault();
    act.mutate(undefined);
  };
  const label =
    wanted.kind === "share"
      ? words.raise(formatShare(wanted.share, language))
      : { promoted: words.promote, stopped: words.stop, rolled_back: words.takeBack }[wanted.kind];
  return (
    <Dialog title={`${label}: ${texts.common.version(canary.number)}`} onClose={onClose}>
      <form onSubmit={submit} className="flex flex-col gap-3">
        <p className="text-muted">{words.ends[wanted.kind]}</p>
        <ReasonField label={texts.admin.actions.reason} value={reason} onChange={setReason} />
        {error && <ProblemLine error={error} />}
        <DialogButtons onClose={onClose} disabled={!reason.trim() || act.isPending}>
          {label}
        </DialogButtons>
      </form>
      {asking}
    </Dialog>
  );
}
