/** Theme and language, as two small selects. */
import { LANGUAGES, type Language, setLanguage, useLanguage, useTexts } from "../texts";
import { setTheme, type Theme, useTheme } from "../theme";

const SELECT =
  "min-h-8 rounded-md border border-line-strong bg-surface px-1.5 text-[0.85rem] text-ink hover:bg-hover";

export function Preferences() {
  const texts = useTexts();
  const theme = useTheme();
  const language = useLanguage();
  return (
    <div className="flex flex-wrap items-center gap-2">
      <select
        className={SELECT}
        aria-label={texts.theme.label}
        value={theme}
        onChange={(event) => setTheme(event.target.value as Theme)}
      >
        {(["system", "light", "dark"] as const).map((one) => (
          <option key={one} value={one}>
            {texts.theme[one]}
          </option>
        ))}
      </select>
      <select
        className={SELECT}
        aria-label={texts.languageLabel}
        value={language}
        onChange={(event) => void setLanguage(event.target.value as Language)}
      >
        {Object.entries(LANGUAGES).map(([code, name]) => (
          <option key={code} value={code}>
            {name}
          </option>
        ))}
      </select>
    </div>
  );
}
