/** Sign in, then go on to where one wanted to be. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useLocation, useSearch } from "wouter";
import { api } from "../api";
import { keys, queries } from "../queries";
import { useTexts } from "../texts";
import { CredentialsForm, Door } from "./door";

export function LoginPage() {
  const texts = useTexts();
  const client = useQueryClient();
  const [, go] = useLocation();
  const wanted = new URLSearchParams(useSearch()).get("to");
  const setup = useQuery(queries.setup);

  const submit = async (name: string, password: string) => {
    const me = await api.signIn(name, password);
    client.clear();
    client.setQueryData(keys.me, me);
    // Only a path of this page: `//host` would leave it.
    go(wanted && /^\/(?![/\\])/.test(wanted) ? wanted : "/", { replace: true });
  };

  return (
    <Door title={texts.door.loginTitle} lead={setup.data?.needed ? texts.door.loginNeedsSetup : undefined}>
      <CredentialsForm submit={submit} label={texts.door.loginSubmit} />
    </Door>
  );
}
