/** Saved views: searches with a name. Some come with Heed, the others stay in this browser. */

import { type FormEvent, useState } from "react";
import { useTexts } from "../../texts/explorer";
import { Dialog } from "../../ui/dialog";
import { DialogButtons } from "../../ui/dialog-parts";
import { Icon } from "../../ui/icons";
import { BUILT_IN, removeView, saveView, useViews } from "./views";

interface Props {
  query: string;
  onQuery: (query: string) => void;
}

export function Views({ query, onQuery }: Props) {
  const texts = useTexts();
  const words = texts.votes;
  const own = useViews();
  const [naming, setNaming] = useState(false);
  const [name, setName] = useState("");
  const builtIn = Object.entries(BUILT_IN).map(([key, query]) => ({
    name: words.views[key as keyof typeof BUILT_IN],
    query,
  }));
  const shown = [...builtIn, ...own].find((one) => one.query === query);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (!name.trim()) return;
    saveView({ name: name.trim(), query });
    setNaming(false);
    setName("");
  };
  return (
    <div className="flex items-center gap-1">
      <select
        className="field min-h-9 w-auto max-w-48 py-1"
        aria-label={words.savedViews}
        value={shown?.query ?? ""}
        onChange={(event) => onQuery(event.target.value)}
      >
        <option value="">{words.savedViews}</option>
        {builtIn.map((one) => (
          <option key={one.query} value={one.query}>
            {one.name}
          </option>
        ))}
        {own.length > 0 && (
          <optgroup label={words.ownViews}>
            {own.map((one) => (
              <option key={one.name} value={one.query}>
                {one.name}
              </option>
            ))}
          </optgroup>
        )}
      </select>
      {own.some((one) => one.name === shown?.name) ? (
        <button
          type="button"
          className="icon-btn"
          aria-label={words.removeView}
          title={words.removeView}
          onClick={() => shown && removeView(shown.name)}
        >
          <Icon name="trash" className="size-4.5" />
        </button>
      ) : (
        <button
          type="button"
          className="icon-btn"
          aria-label={words.saveView}
          title={words.saveView}
          disabled={!query || shown !== undefined}
          onClick={() => setNaming(true)}
        >
          <Icon name="plus" className="size-4.5" />
        </button>
      )}
      {naming && (
        <Dialog title={words.saveView} onClose={() => setNaming(false)}>
          <form onSubmit={submit} className="flex flex-col gap-3">
            <label className="flex flex-col gap-1">
              <span className="font-medium">{words.viewName}</span>
              <input
                className="field"
                value={name}
                maxLength={60}
                onChange={(event) => setName(event.target.value)}
              />
            </label>
            <p className="font-mono text-[0.87rem] wrap-anywhere text-muted">{query}</p>
            <DialogButtons onClose={() => setNaming(false)}>{texts.common.save}</DialogButtons>
          </form>
        </Dialog>
      )}
    </div>
  );
}
