/** Whether texts are blurred until they are pointed at: for screens that others see. Kept in this browser. */
import { useState } from "react";

const STORAGE_KEY = "heed.blur";

export function useBlur(): [boolean, () => void] {
  const [blurred, setBlurred] = useState(() => {
    try {
      return localStorage.getItem(STORAGE_KEY) === "yes";
    } catch {
      return false;
    }
  });
  const turn = () => {
    setBlurred(!blurred);
    try {
      localStorage.setItem(STORAGE_KEY, blurred ? "no" : "yes");
    } catch {
      // Without storage the choice lasts as long as the page.
    }
  };
  return [blurred, turn];
}
