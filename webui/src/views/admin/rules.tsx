/** The start rules: which differ from the file and who changed them, and the dialog that changes them. */
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { Problem } from "../../api";
import { formatTime } from "../../format";
import { keys } from "../../queries";
import { useLanguage } from "../../texts";
import { usePlanTexts } from "../../texts/console/plan";
import { Dialog } from "../../ui/dialog";
import { DialogButtons } from "../../ui/dialog-parts";
import { ProblemLine } from "../../ui/notice";
import { consoleApi, consoleKeys, type Rules, type Schedule } from "../console/calls";
import { Field } from "./field";

const NAMES = ["min_votes", "every_hours", "calendar", "quiet_hours", "time_zone", "drift"] as const;
type Name = (typeof NAMES)[number];
const NUMBERS: readonly Name[] = ["min_votes", "every_hours", "drift"];

/** As a person writes it; empty is off. */
const written = (rules: Rules, name: Name): string => {
  const value = rules[name];
  return Array.isArray(value) ? value.join(", ") : `${value ?? ""}`;
};

const isOff = (rules: Rules, name: Name) => ["", "0"].includes(written(rules, name));

/** What a person wrote, as the rule has it. */
function read(name: Name, text: string): number | string | string[] | null {
  const words = text.trim();
  if (name === "quiet_hours") return words.split(/[\s,;，；]+/).filter(Boolean);
  if (words === "") return null;
  return NUMBERS.includes(name) ? Number(words) : words;
}

/** "New votes: 20 instead of 50, by ann, 20:10". */
export function ChangedRules({ schedule }: { schedule: Schedule }) {
  const words = usePlanTexts();
  const language = useLanguage();
  const changed = NAMES.flatMap((name) => {
    const change = schedule.changed[name];
    return change ? [{ name, ...change }] : [];
  });
  if (changed.length === 0) return null;
  const shown = (rules: Rules, name: Name) => (isOff(rules, name) ? words.off : written(rules, name));
  return (
    <div className="mt-2 rounded-lg bg-sunken px-3 py-2 text-[0.92rem]">
      <p className="font-medium">{words.otherwise}</p>
      <ul className="wrap-anywhere">
        {changed.map(({ name, by, at }) => (
          <li key={name}>
            {words.instead(words.rules[name], shown(schedule.rules, name), shown(schedule.file, name))}{" "}
            <span className="text-muted">{words.changedBy(by, formatTime(at, language))}</span>
          </li>
        ))}
      </ul>
    </div>
  );
}

export default function RulesDialog({ schedule, onClose }: { schedule: Schedule; onClose: () => void }) {
  const words = usePlanTexts();
  const client = useQueryClient();
  const [texts, setTexts] = useState(
    () =>
      Object.fromEntries(NAMES.map((name) => [name, written(schedule.rules, name)])) as Record<Name, string>,
  );
  const taken = (made: Schedule) => {
    client.setQueryData(consoleKeys.schedule, made);
    void client.invalidateQueries({ queryKey: keys.status });
    onClose();
  };
  const wanted = Object.fromEntries(
    NAMES.filter((name) => texts[name] !== written(schedule.rules, name)).map((name) => [
      name,
      read(name, texts[name]),
    ]),
  );
  const change = useMutation({ mutationFn: () => consoleApi.changeRules(wanted), onSuccess: taken });
  const restore = useMutation({ mutationFn: consoleApi.rulesAsInFile, onSuccess: taken });
  const problem = change.error ?? restore.error;
  const field = problem instanceof Problem ? problem.field?.split(".")[0] : undefined;
  const isAtField = NAMES.some((name) => name === field);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    change.mutate();
  };
  return (
    <Dialog title={words.change} onClose={onClose}>
      <form onSubmit={submit} noValidate className="flex flex-col gap-3">
        <p className="text-muted">{words.changeHint}</p>
        <div className="grid gap-x-4 gap-y-2.5 sm:grid-cols-2">
          {NAMES.map((name) => {
            const inFile = isOff(schedule.file, name) ? words.off : written(schedule.file, name);
            return (
              <Field
                key={name}
                label={words.rules[name]}
                hint={words.inFile(inFile)}
                problem={field === name && problem instanceof Problem ? problem : null}
              >
                {(props) => (
                  <input
                    {...props}
                    type={NUMBERS.includes(name) ? "number" : "text"}
                    step="any"
                    spellCheck={false}
                    autoComplete="off"
                    placeholder={words.example[name]}
                    value={texts[name]}
                    onChange={({ target }) => {
                      change.reset();
                      setTexts({ ...texts, [name]: target.value });
                    }}
                  />
                )}
              </Field>
            );
          })}
        </div>
        {problem && !isAtField && <ProblemLine error={problem} />}
        <div className="flex flex-wrap justify-between gap-2">
          <button
            type="button"
            className="btn"
            disabled={restore.isPending || Object.keys(schedule.changed).length === 0}
            onClick={() => restore.mutate()}
          >
            {words.asInFile}
          </button>
          <DialogButtons onClose={onClose} disabled={change.isPending || Object.keys(wanted).length === 0}>
            {words.save}
          </DialogButtons>
        </div>
      </form>
    </Dialog>
  );
}
