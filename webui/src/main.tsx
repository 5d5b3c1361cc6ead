/** Starts the page. */
import { QueryClientProvider } from "@tanstack/react-query";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./app";
import { newClient } from "./queries";
import "./styles.css";
import { loadLanguage } from "./texts";

const root = document.getElementById("root");
if (!root) throw new Error("index.html lacks the element with id root");

void loadLanguage().finally(() =>
  createRoot(root).render(
    <StrictMode>
      <QueryClientProvider client={newClient()}>
        <App />
      </QueryClientProvider>
    </StrictMode>,
  ),
);
