/** Acts that ask for a password typed within ten minutes: the page asks, then goes on where it was. */

import { type UseMutationResult, useMutation } from "@tanstack/react-query";
import { type FormEvent, type ReactNode, useState } from "react";
import { Problem } from "../../api";
import { useTexts } from "../../texts";
import { useConsole } from "../../texts/console";
import { Dialog } from "../../ui/dialog";
import { DialogButtons } from "../../ui/dialog-parts";
import { ProblemLine } from "../../ui/notice";
import { consoleApi } from "./calls";

interface Fresh<In, Out> {
  act: UseMutationResult<Out, Error, In>;
  /** To be shown somewhere: the password question while it is open. */
  asking: ReactNode;
  /** What went wrong, but for the question for the password, which is asked instead. */
  error: Error | null;
}

export const wantsPassword = (error: unknown): boolean =>
  error instanceof Problem && error.kind === "confirm_password";

export function useFresh<In, Out>(
  work: (input: In) => Promise<Out>,
  onSuccess: (out: Out) => void,
): Fresh<In, Out> {
  const act = useMutation<Out, Error, In>({ mutationFn: work, onSuccess });
  const asks = wantsPassword(act.error);
  const asking = asks ? (
    <PasswordDialog onClose={() => act.reset()} onDone={() => act.mutate(act.variables as In)} />
  ) : null;
  return { act, asking, error: asks ? null : act.error };
}

function PasswordDialog({ onClose, onDone }: { onClose: () => void; onDone: () => void }) {
  const texts = useTexts();
  const words = useConsole().fresh;
  const [password, setPassword] = useState("");
  const confirm = useMutation({ mutationFn: () => consoleApi.confirm(password), onSuccess: onDone });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    event.stopPropagation();
    confirm.mutate();
  };
  return (
    <Dialog title={words.title} onClose={onClose}>
      <form onSubmit={submit} className="flex flex-col gap-3">
        <p className="text-muted">{words.hint}</p>
        <label className="flex flex-col gap-1">
          <span className="font-medium">{texts.door.password}</span>
          <input
            type="password"
            className="field"
            autoComplete="current-password"
            required
            value={password}
            onChange={(event) => setPassword(event.target.value)}
          />
        </label>
        {confirm.error && <ProblemLine error={confirm.error} />}
        <DialogButtons onClose={onClose} disabled={confirm.isPending}>
          {words.go}
        </DialogButtons>
      </form>
    </Dialog>
  );
}

/** A secret that is shown this once: text to copy, and the warning that says so. */
export function Once({ label, value, hint }: { label: string; value: string; hint: string }) {
  const texts = useTexts();
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(value);
    setCopied(true);
  };
  return (
    <div className="flex flex-col gap-2">
      <div className="flex items-end gap-2">
        <label className="flex min-w-0 flex-1 flex-col gap-1">
          <span className="font-medium">{label}</span>
          <input
            className="field font-mono text-[0.9rem]"
            readOnly
            value={value}
            onFocus={(event) => event.target.select()}
          />
        </label>
        <button type="button" className="btn min-h-10" onClick={() => void copy()}>
          {copied ? texts.common.copied : texts.common.copy}
        </button>
      </div>
      <p className="text-[0.87rem] text-muted">{hint}</p>
    </div>
  );
}
