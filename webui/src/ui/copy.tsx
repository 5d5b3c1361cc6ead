/** Copies a text and says so. */
import { useEffect, useState } from "react";
import { useTexts } from "../texts";
import { Icon } from "./icons";
import { showToast } from "./toasts";

/** Copies by key, where no button can show that it was done. */
export const copyText = (text: string, said: string): void =>
  void navigator.clipboard?.writeText(text).then(() => showToast({ text: said }));

export function CopyButton({ text, label }: { text: string; label: string }) {
  const texts = useTexts();
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), 2000);
    return () => clearTimeout(timer);
  }, [copied]);
  const copy = () => navigator.clipboard?.writeText(text).then(() => setCopied(true));
  return (
    <button
      type="button"
      className="icon-btn"
      onClick={copy}
      aria-label={copied ? texts.common.copied : label}
      title={label}
    >
      <Icon name={copied ? "check" : "copy"} className="size-4" />
    </button>
  );
}
