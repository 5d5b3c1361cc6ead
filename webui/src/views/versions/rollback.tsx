/** Roll back: what would happen, the reason, then what does happen, step by step, with the time it took. */

import { useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useEffect, useState } from "react";
import { api, type Status } from "../../api";
import { formatNumber } from "../../format";
import { keys, queries } from "../../queries";
import { useLanguage } from "../../texts";
import { useConsole, useTexts } from "../../texts/console";
import { Dialog } from "../../ui/dialog";
import { DialogButtons, ReasonField } from "../../ui/dialog-parts";
import { Icon } from "../../ui/icons";
import { ProblemLine } from "../../ui/notice";
import { consoleApi } from "../console/calls";
import { useFresh } from "../console/fresh";
import { PreflightFacts } from "./preflight";

interface Props {
  from: number;
  to: number;
  onClose: () => void;
}

export function RollbackDialog({ onClose, ...asked }: Props) {
  // While it happens, what is live changes around it.
  const [{ from, to }] = useState(asked);
  const texts = useTexts();
  const words = texts.admin.actions;
  const client = useQueryClient();
  const [reason, setReason] = useState("");
  const [began, setBegan] = useState<number | null>(null);
  const preflight = useQuery({
    queryKey: ["preflight", to],
    queryFn: () => consoleApi.preflight(to),
    staleTime: 0,
    gcTime: 0,
    enabled: began === null,
  });
  const { act, asking, error } = useFresh(
    () => {
      const at = performance.now();
      return api.rollBack(reason.trim()).then(() => at);
    },
    (at) => {
      setBegan(at);
      void client.invalidateQueries({ queryKey: keys.policies });
      void client.invalidateQueries({ queryKey: keys.status });
    },
  );
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (reason.trim()) act.mutate(undefined);
  };
  if (began !== null) return <Progress from={from} to={to} began={began} onClose={onClose} />;
  return (
    <Dialog title={words.rollBackTitle(to)} onClose={onClose}>
      <form onSubmit={submit} className="flex flex-col gap-3">
        <p className="text-muted">{words.rollBackEffect(from, to)}</p>
        <PreflightFacts query={preflight} />
        <ReasonField label={words.reason} value={reason} onChange={setReason} hint={words.reasonHint} />
        {error && <ProblemLine error={error} />}
        <DialogButtons
          onClose={onClose}
          disabled={!reason.trim() || act.isPending || preflight.data?.ok === false}
          bad
        >
          {words.rollBackTo(to)}
        </DialogButtons>
      </form>
      {asking}
    </Dialog>
  );
}

export const PROGRESS = ["pointer", "load", "serve", "drain"] as const;

/** How many of the four steps are done, by what the servers and engines report. */
export function stepsDone(status: Status, from: number, to: number): number {
  if (status.active?.number !== to) return 0;
  if (!status.engines.some((engine) => engine.version === to && engine.state === "ready")) return 1;
  const serving = Object.values(status.serving);
  if (serving.length > 0 && serving.some((number) => number !== to)) return 2;
  const old = status.engines.some((engine) => engine.version === from && engine.in_flight > 0);
  return old ? 3 : 4;
}

const LOOK_MS = 400;

function Progress({ from, to, began, onClose }: Props & { began: number }) {
  const texts = useTexts();
  const words = useConsole().versions;
  const language = useLanguage();
  const status = useQuery({ ...queries.status, refetchInterval: LOOK_MS });
  const [now, setNow] = useState(() => performance.now());
  const done = status.data ? stepsDone(status.data, from, to) : 1;
  const over = done === PROGRESS.length;
  useEffect(() => {
    if (over) return;
    const timer = setInterval(() => setNow(performance.now()), 100);
    return () => clearInterval(timer);
  }, [over]);
  const seconds = formatNumber(Math.max(0, (now - began) / 1000), language);
  return (
    <Dialog title={over ? words.rolledBack(to) : words.rollingBack(to)} onClose={onClose}>
      <ol className="flex flex-col gap-2" aria-label={words.progress}>
        {PROGRESS.map((step, index) => (
          <li
            key={step}
            className="flex items-center gap-2"
            aria-current={index === done ? "step" : undefined}
          >
            <span
              className={`grid size-6 place-items-center rounded-full border ${
                index < done
                  ? "border-accent bg-accent-soft text-accent"
                  : index === done
                    ? "border-turn text-turn"
                    : "border-line text-muted"
              }`}
              aria-hidden="true"
            >
              {index < done ? <Icon name="check" className="size-3.5" /> : index + 1}
            </span>
            <span className={index > done ? "text-muted" : ""}>{words.steps[step](from, to)}</span>
          </li>
        ))}
      </ol>
      <p role="status" className="mt-3 tabular-nums">
        {over ? words.tookInAll(seconds) : words.soFar(seconds)}
      </p>
      {!over && <p className="text-[0.87rem] text-muted">{words.goesOn}</p>}
      <div className="mt-4 flex justify-end">
        <button type="button" className={over ? "btn btn-main" : "btn"} onClick={onClose}>
          {texts.common.close}
        </button>
      </div>
    </Dialog>
  );
}
