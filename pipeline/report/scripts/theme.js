"use strict";
// Light or dark as the reader chose, else as the system says. Runs before the page is painted, so that nothing flashes.

const THEME = "concord-theme";

function storedTheme() {
  try {
    return localStorage.getItem(THEME);
  } catch {
    return null; // a browser may keep nothing for pages from a disk
  }
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem(THEME, theme);
  } catch {
    // the choice lasts for this page
  }
}

function switchTheme() {
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const shown = document.documentElement.dataset.theme ?? system;
  setTheme(shown === "dark" ? "light" : "dark");
}

if (["light", "dark"].includes(storedTheme())) {
  document.documentElement.dataset.theme = storedTheme();
}
