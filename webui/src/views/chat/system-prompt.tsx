/** What the model is told before the conversation. */
import { type FormEvent, useState } from "react";
import { useTexts } from "../../texts";
import { Dialog } from "../../ui/dialog";

interface Props {
  text: string;
  /** There are messages already: the prompt is for those to come. */
  isBegun: boolean;
  onSave: (text: string) => void;
  onClose: () => void;
}

export default function SystemPrompt({ text, isBegun, onSave, onClose }: Props) {
  const texts = useTexts();
  const [draft, setDraft] = useState(text);
  const save = (event?: FormEvent) => {
    event?.preventDefault();
    if (draft.trim() !== text) onSave(draft.trim());
    onClose();
  };
  return (
    <Dialog title={texts.system.title} onClose={onClose}>
      <form onSubmit={save}>
        <p className="mb-3 text-muted">{isBegun ? texts.system.hintBegun : texts.system.hint}</p>
        <textarea
          className="field h-40 resize-y"
          aria-label={texts.system.title}
          placeholder={texts.system.placeholder}
          value={draft}
          maxLength={20_000}
          onChange={(event) => setDraft(event.target.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) save();
          }}
        />
        <div className="mt-3 flex flex-wrap justify-end gap-2">
          {text && (
            <button
              type="button"
              className="btn mr-auto"
              onClick={() => {
                onSave("");
                onClose();
              }}
            >
              {texts.system.remove}
            </button>
          )}
          <button type="button" className="btn" onClick={onClose}>
            {texts.common.cancel}
          </button>
          <button type="submit" className="btn btn-main">
            {texts.common.save}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
