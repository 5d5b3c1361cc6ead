/** Promote: gates and preflight first, then how much of the answers, and why. */

import { useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useId, useState } from "react";
import type { Policies, PolicyVersion } from "../../api";
import { formatShare } from "../../format";
import { keys } from "../../queries";
import { useLanguage } from "../../texts";
import { useConsole, useTexts } from "../../texts/console";
import { Dialog } from "../../ui/dialog";
import { DialogButtons, ReasonField } from "../../ui/dialog-parts";
import { ProblemLine } from "../../ui/notice";
import { consoleApi } from "../console/calls";
import { useFresh } from "../console/fresh";
import { PreflightFacts } from "./preflight";

/** The planned ramp of a canary: each step is taken by a person who has looked at the votes, or by itself. */
export const RAMP = [0.05, 0.25, 0.5, 1] as const;

interface Props {
  version: PolicyVersion;
  policies: Policies;
  onClose: () => void;
}

export function PromoteDialog({ version, policies, onClose }: Props) {
  const texts = useTexts();
  const words = useConsole().versions;
  const language = useLanguage();
  const client = useQueryClient();
  const hint = useId();
  const [share, setShare] = useState<number>(RAMP[0]);
  const [byItself, setByItself] = useState(false);
  const [reason, setReason] = useState("");
  const later = RAMP.filter((step) => step > share + 1e-9);
  const preflight = useQuery({
    queryKey: ["preflight", version.number],
    queryFn: () => consoleApi.preflight(version.number),
    staleTime: 0,
    gcTime: 0,
  });
  const { act, asking, error } = useFresh(
    () => consoleApi.promote(version.number, share, reason.trim(), byItself ? later : []),
    () => {
      void client.invalidateQueries({ queryKey: keys.policies });
      void client.invalidateQueries({ queryKey: keys.status });
      onClose();
    },
  );
  const submit = (event: FormEvent) => {
    event.preventDefault();
    act.mutate(undefined);
  };
  const failed = version.report?.checks.filter((check) => !check.passed) ?? [];
  return (
    <Dialog title={words.promoteTitle(version.number)} onClose={onClose}>
      <form onSubmit={submit} className="flex flex-col gap-3">
        <p className={failed.length > 0 ? "text-bad" : "text-muted"}>
          {version.report === null || version.report === undefined
            ? texts.admin.versions.noGate
            : failed.length > 0
              ? failed.map((check) => `${check.name}: ${check.reason}`).join("; ")
              : words.gatesPassed(version.report.checks.length)}
        </p>
        <PreflightFacts query={preflight} />
        <fieldset>
          <legend className="mb-1 font-medium">{words.share}</legend>
          <div className="flex flex-wrap gap-2">
            {RAMP.map((step) => (
              <label
                key={step}
                className={`btn btn-small ${share === step ? "btn-main" : ""} has-focus-visible:outline-2 has-focus-visible:outline-offset-2 has-focus-visible:outline-accent`}
              >
                <input
                  type="radio"
                  className="sr-only"
                  name="share"
                  checked={share === step}
                  onChange={() => setShare(step)}
                />
                {formatShare(step, language)}
              </label>
            ))}
          </div>
          <input
            type="range"
            className="mt-2 w-full accent-(--accent)"
            min={1}
            max={100}
            value={Math.round(share * 100)}
            aria-label={words.share}
            aria-describedby={hint}
            onChange={(event) => setShare(event.target.valueAsNumber / 100)}
          />
          <p id={hint} className="text-[0.87rem] text-muted">
            {share === 1
              ? words.promoteAll(version.number, policies.active)
              : words.promoteCanary(formatShare(share, language))}
          </p>
          {later.length > 0 && (
            <label className="mt-2 flex items-center gap-2">
              <input
                type="checkbox"
                checked={byItself}
                onChange={(event) => setByItself(event.target.checked)}
              />
              {words.byItself(later.map((step) => formatShare(step, language)).join(", "))}
            </label>
          )}
        </fieldset>
        <ReasonField label={texts.admin.actions.reason} value={reason} onChange={setReason} />
        {error && <ProblemLine error={error} />}
        <DialogButtons
          onClose={onClose}
          disabled={!reason.trim() || act.isPending || preflight.data?.ok === false}
        >
          {share === 1 ? words.promote : words.startCanary}
        </DialogButtons>
      </form>
      {asking}
    </Dialog>
  );
}
