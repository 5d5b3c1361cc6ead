/** What a person may want otherwise in one training; the trainer checks it, and its refusal stands at the field. */
import type { Problem, RunOptions } from "../../api";
import { useConsole } from "../../texts/console";
import type { Plan } from "../console/calls";
import { Field } from "./field";

const PRESETS = ["ppo-max", "vanilla", "ppo-max-paper", "ppo-max-repo-en", "ppo-max-repo-zh"];
const NUMBERS = ["max_pairs", "epochs", "rollout_prompts", "updates"] as const;

interface Props {
  plan: Plan;
  options: RunOptions;
  onChange: (options: RunOptions) => void;
  /** What was refused, with the option's name as its field. */
  problem: Problem | null;
}

export function Options({ plan, options, onChange, problem }: Props) {
  const words = useConsole().training.options;
  const settings = plan.settings as Record<string, Record<string, unknown> | undefined>;
  const now: Record<(typeof NUMBERS)[number], unknown> = {
    max_pairs: plan.max_pairs,
    epochs: settings.reward?.epochs,
    rollout_prompts: plan.rollout_prompts,
    updates: settings.ppo?.updates,
  };
  return (
    <details>
      <summary className="font-medium">{words.title}</summary>
      <div className="mt-2 grid gap-x-4 gap-y-2.5 sm:grid-cols-2">
        {NUMBERS.map((name) => (
          <Field key={name} label={words[name]} problem={problem?.field === name ? problem : null}>
            {(props) => (
              <input
                {...props}
                type="number"
                defaultValue={options[name] ?? ""}
                placeholder={String(now[name] ?? "")}
                onBlur={({ target }) => {
                  const value = target.value === "" ? undefined : target.valueAsNumber;
                  if (value !== options[name]) onChange({ ...options, [name]: value });
                }}
              />
            )}
          </Field>
        ))}
        <Field label={words.preset} problem={problem?.field === "preset" ? problem : null}>
          {(props) => (
            <select
              {...props}
              value={options.preset ?? ""}
              onChange={({ target }) => onChange({ ...options, preset: target.value || undefined })}
            >
              <option value="">{words.asInFile}</option>
              {PRESETS.map((one) => (
                <option key={one}>{one}</option>
              ))}
            </select>
          )}
        </Field>
      </div>
      <p className="mt-2 text-[0.87rem] text-muted">{words.hint}</p>
    </details>
  );
}
