"use strict";
// What keys and the buttons at the top and bottom do; the list of keys is the dialog at the end of every page.

const help = document.getElementById("help");
const heat = document.getElementById("heat");

function showHeat() {
  document.body.classList.toggle("no-heat", !heat.checked);
}

function follow(relation) {
  document.querySelector(`a[rel="${relation}"]`)?.click();
}

const KEYS = {
  "/": () => {
    const field = document.getElementById("find");
    field?.focus();
    field?.select();
  },
  ArrowLeft: () => follow("prev"),
  ArrowRight: () => follow("next"),
  h: () => {
    if (!heat) return;
    heat.checked = !heat.checked;
    showHeat();
  },
  t: switchTheme,
  "?": () => help.showModal(),
};

addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input:not([type=checkbox]), select, textarea, dialog[open]");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !(event.key in KEYS)) return;
  event.preventDefault();
  KEYS[event.key]();
});
heat?.addEventListener("change", showHeat);
if (heat) showHeat(); // a browser may have kept the box unticked
document.getElementById("theme").addEventListener("click", switchTheme);
document.getElementById("keys").addEventListener("click", () => help.showModal());
