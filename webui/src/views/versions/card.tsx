/** A model card: markdown without its YAML head, which is for machines. */
import { Markdown } from "../../markdown/blocks";

export default function Card({ text }: { text: string }) {
  return <Markdown text={text.replace(/^---\n[\s\S]*?\n---\n/, "")} streaming={false} />;
}
