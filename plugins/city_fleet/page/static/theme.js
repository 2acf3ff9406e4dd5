// Follows Airflow's own choice of light or dark, which it keeps under "theme" in this browser; before anything is drawn.
"use strict";
(() => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    let chosen = null;
    try {
      chosen = window.localStorage.getItem("theme");
    } catch {
      // A browser that lets no page keep anything has no choice of Airflow's either.
    }
    const name = chosen === "dark" || chosen === "light" ? chosen : dark.matches ? "dark" : "light";
    if (document.documentElement.dataset.theme !== name) {
      document.documentElement.dataset.theme = name;
      document.dispatchEvent(new CustomEvent("themechange", { detail: name }));
    }
  };
  apply();
  dark.addEventListener("change", apply);
  // A change in the window around this one, or in another tab.
  window.addEventListener("storage", (event) => {
    if (event.key === "theme" || event.key === null) apply();
  });
})();
