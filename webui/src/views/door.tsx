/** The frame of the pages before sign-in, and their form: a name, a password, one button. */
import { type FormEvent, type ReactNode, useId, useState } from "react";
import { Problem } from "../api";
import { useTexts } from "../texts";
import { Mark } from "../ui/icons";
import { problemText } from "../ui/notice";
import { Preferences } from "../ui/preferences";

export function Door({ title, lead, children }: { title: string; lead?: string; children: ReactNode }) {
  const texts = useTexts();
  return (
    <div className="flex min-h-dvh flex-col items-center px-4">
      <main className="card mt-[12vh] mb-6 w-full max-w-sm p-6 shadow-(--shadow)">
        <p className="mb-6 flex items-center gap-2.5">
          <Mark className="size-8" />
          <span>
            <span className="block leading-tight font-semibold">{texts.app.name}</span>
            <span className="block text-[0.85rem] leading-tight text-muted">{texts.app.tagline}</span>
          </span>
        </p>
        <h1 className="mb-1 text-xl font-semibold">{title}</h1>
        {lead && <p className="mb-4 text-muted">{lead}</p>}
        {children}
      </main>
      <footer>
        <Preferences />
      </footer>
    </div>
  );
}

interface FormProps {
  submit: (name: string, password: string) => Promise<void>;
  label: string;
  /** A new password is chosen here, so its rule is told and checked. */
  isNew?: boolean;
  /** Words for problems that mean something else on this page. */
  explain?: (problem: Problem) => string | null;
}

const SHORTEST_PASSWORD = 12;

export function CredentialsForm({ submit, label, isNew = false, explain }: FormProps) {
  const texts = useTexts();
  const id = useId();
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const [field, setField] = useState<string | null>(null);

  const send = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const password = String(form.get("password"));
    if (isNew && password.length < SHORTEST_PASSWORD) {
      setProblem(texts.problems.password_too_short);
      setField("password");
      return;
    }
    setBusy(true);
    setProblem(null);
    try {
      await submit(String(form.get("name")).trim(), password);
    } catch (error) {
      setProblem((error instanceof Problem && explain?.(error)) || problemText(error, texts));
      setField(error instanceof Problem ? error.field : null);
    } finally {
      setBusy(false);
    }
  };

  return (
    <form onSubmit={send} className="mt-4 flex flex-col gap-4" noValidate={isNew}>
      <label className="flex flex-col gap-1">
        <span className="font-medium">{texts.door.name}</span>
        <input
          name="name"
          className="field"
          autoComplete="username"
          required
          maxLength={80}
          aria-invalid={field === "name"}
        />
      </label>
      <label className="flex flex-col gap-1">
        <span className="font-medium">{texts.door.password}</span>
        <input
          name="password"
          type="password"
          className="field"
          required
          autoComplete={isNew ? "new-password" : "current-password"}
          aria-invalid={field === "password"}
          aria-describedby={isNew ? `${id}-hint` : undefined}
        />
        {isNew && (
          <span id={`${id}-hint`} className="text-[0.87rem] text-muted">
            {texts.door.passwordHint}
          </span>
        )}
      </label>
      {problem && (
        <p role="alert" className="rounded-lg bg-bad-soft px-3 py-2 text-bad">
          {problem}
        </p>
      )}
      <button type="submit" className="btn btn-main" disabled={busy}>
        {busy ? texts.door.working : label}
      </button>
    </form>
  );
}
