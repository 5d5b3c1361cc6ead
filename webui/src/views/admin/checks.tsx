/** The gates of a training: the reward model's, before PPO, and the policy's after it. */
import type { GateReport, Run } from "../../api";
import { useTexts } from "../../texts/console";
import { Card } from "../console/guard";
import { Gate } from "./gate";

type Check = GateReport["checks"][number];

/** A stage's summary is free in form: its checks, where it has any. */
function checksOf(summary: Record<string, unknown> | undefined): Check[] {
  const checks = summary?.checks;
  return Array.isArray(checks) ? (checks as Check[]) : [];
}

export default function Checks({ run }: { run: Run }) {
  const texts = useTexts().admin;
  const gates = run.stages.flatMap(({ stage, summary }) => {
    const checks = checksOf(summary);
    return checks.length > 0
      ? [{ title: texts.gates[stage === "reward" ? "reward" : "policy"], checks }]
      : [];
  });
  if (gates.length === 0) return null;
  return (
    <Card id="gates-title" title={texts.gates.title} hint={texts.gates.hint}>
      <div className="grid items-start gap-4">
        {gates.map(({ title, checks }) => (
          <section key={title} className="min-w-0">
            <h3 className="mb-2 flex flex-wrap items-baseline gap-2 font-semibold">
              {title}
              <span className="text-[0.87rem] font-normal text-muted">
                {texts.gates.passed(checks.filter((check) => check.passed).length, checks.length)}
              </span>
            </h3>
            <Gate checks={checks} label={title} />
          </section>
        ))}
      </div>
    </Card>
  );
}
