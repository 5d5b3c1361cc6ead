/** The one-time set-up link: its token comes after the #, so that it is in no server log. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useLocation } from "wouter";
import { api } from "../api";
import { keys, queries } from "../queries";
import { useTexts } from "../texts";
import { CredentialsForm, Door } from "./door";

export function SetupPage() {
  const texts = useTexts();
  const client = useQueryClient();
  const [, go] = useLocation();
  const [token] = useState(() => new URLSearchParams(location.hash.slice(1)).get("token"));
  const setup = useQuery(queries.setup);

  const submit = async (name: string, password: string) => {
    const me = await api.setUp(token ?? "", name, password);
    client.setQueryData(keys.me, me);
    client.setQueryData(keys.setup, { needed: false });
    go("/", { replace: true });
  };

  if (setup.data && !setup.data.needed)
    return (
      <Door title={texts.door.setupDone} lead={texts.door.setupDoneHint}>
        <Link href="/login" className="btn btn-main w-full">
          {texts.door.loginTitle}
        </Link>
      </Door>
    );
  if (!token)
    return (
      <Door title={texts.door.setupMissing} lead={texts.door.setupMissingHint}>
        {null}
      </Door>
    );
  return (
    <Door title={texts.door.setupTitle} lead={texts.door.setupLead}>
      <CredentialsForm
        submit={submit}
        label={texts.door.setupSubmit}
        isNew
        explain={(problem) => (problem.status === 401 ? texts.problem.wrongLink : null)}
      />
    </Door>
  );
}
