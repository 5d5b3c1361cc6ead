/** The page of a one-time link: a new account, or a new password. The token comes after the #, so it is in no log. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { Link, useLocation } from "wouter";
import type { Me } from "../api";
import { keys } from "../queries";
import { useTexts } from "../texts";
import { useConsole } from "../texts/console";
import { Loading, ProblemLine } from "../ui/notice";
import { consoleApi } from "./console/calls";
import { CredentialsForm, Door } from "./door";

export default function InvitePage() {
  const texts = useTexts();
  const words = useConsole().invite;
  const client = useQueryClient();
  const [, go] = useLocation();
  const [token] = useState(() => new URLSearchParams(location.hash.slice(1)).get("token") ?? "");
  const seen = useQuery({
    queryKey: ["invite", token],
    queryFn: () => consoleApi.lookAtInvite(token),
    retry: false,
    staleTime: Number.POSITIVE_INFINITY,
  });
  const accept = async (name: string | null, password: string) => {
    const me: Me = await consoleApi.acceptInvite(token, name, password);
    client.clear();
    client.setQueryData(keys.me, me);
    go("/", { replace: true });
  };
  if (seen.error)
    return (
      <Door title={words.gone} lead={words.goneHint}>
        <Link href="/login" className="btn btn-main w-full">
          {texts.door.loginTitle}
        </Link>
      </Door>
    );
  if (!seen.data)
    return (
      <Door title={words.title}>
        <Loading />
      </Door>
    );
  const { role, name } = seen.data;
  return name === null ? (
    <InviteDoor role={role} submit={accept} />
  ) : (
    <Door title={words.passwordTitle} lead={words.passwordLead(name)}>
      <PasswordForm submit={(password) => accept(null, password)} />
    </Door>
  );
}

function InviteDoor({
  role,
  submit,
}: {
  role: Me["role"];
  submit: (name: string, password: string) => Promise<void>;
}) {
  const words = useConsole();
  return (
    <Door title={words.invite.title} lead={words.invite.lead(words.roles[role])}>
      <CredentialsForm submit={submit} label={words.invite.submit} isNew />
    </Door>
  );
}

function PasswordForm({ submit }: { submit: (password: string) => Promise<void> }) {
  const texts = useTexts();
  const words = useConsole().invite;
  const [password, setPassword] = useState("");
  const [error, setError] = useState<unknown>(null);
  const send = (event: FormEvent) => {
    event.preventDefault();
    submit(password).catch(setError);
  };
  return (
    <form onSubmit={send} className="mt-4 flex flex-col gap-4">
      <label className="flex flex-col gap-1">
        <span className="font-medium">{texts.door.password}</span>
        <input
          type="password"
          className="field"
          autoComplete="new-password"
          minLength={12}
          required
          value={password}
          onChange={(event) => setPassword(event.target.value)}
          aria-describedby="invite-password-hint"
        />
        <span id="invite-password-hint" className="text-[0.87rem] text-muted">
          {texts.door.passwordHint}
        </span>
      </label>
      {error !== null && <ProblemLine error={error} />}
      <button type="submit" className="btn btn-main">
        {words.passwordSubmit}
      </button>
    </form>
  );
}
