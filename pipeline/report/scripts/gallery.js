"use strict";
// The gallery's filters. They live in the address (lucid/concepts.html#q=boat&kind=noun), so that a view can be linked to.

const filters = document.getElementById("filters");

function gallery() {
  const cards = [...document.querySelectorAll(".card")];
  const list = document.getElementById("cards");
  const usual = Object.fromEntries(new FormData(filters)); // what the page says before any filter is set

  function within(range, value) {
    const [low, high] = range.split("-").map(Number);
    return !range || (value >= low && (value < high || high === 1));
  }

  function fits(card, chosen) {
    const { kind, name, purity, vision, text } = card.dataset;
    return (
      (!chosen.kind || kind === chosen.kind) &&
      (!chosen.name || name === chosen.name) &&
      100 * purity >= Number(chosen.purity) &&
      within(chosen.vision, Number(vision)) &&
      within(chosen.text, Number(text))
    );
  }

  function order(chosen, ranks) {
    const key = chosen.sort;
    if (key === "title") return (one, other) => one.dataset.title.localeCompare(other.dataset.title);
    if (key) return (one, other) => other.dataset[key] - one.dataset[key];
    return (one, other) => ranks.get(one) - ranks.get(other); // equal ranks keep the page's order
  }

  function show() {
    const chosen = Object.fromEntries(new FormData(filters));
    const ranks = new Map(cards.map((card) => [card, rank(card.dataset.search, chosen.q)]));
    const shown = cards.filter((card) => ranks.get(card) < Infinity && fits(card, chosen)).sort(order(chosen, ranks));
    cards.forEach((card) => (card.hidden = true));
    shown.forEach((card) => (card.hidden = false));
    list.append(...shown);
    filters.querySelector("output").textContent = chosen.purity;
    document.getElementById("count").textContent =
      shown.length === cards.length ? `${cards.length} latents` : `${shown.length} of ${cards.length} latents`;
    document.getElementById("none").hidden = shown.length > 0;
  }

  function remember() {
    const chosen = Object.entries(Object.fromEntries(new FormData(filters)));
    const set = chosen.filter(([key, value]) => value !== usual[key]).map(([key, value]) => [key, value || "any"]);
    history.replaceState(null, "", set.length ? `#${new URLSearchParams(set)}` : "#");
  }

  function recall() {
    filters.reset();
    const address = new URLSearchParams(location.hash.slice(1) || location.search);
    for (const [key, value] of address) {
      if (key in filters.elements) filters.elements[key].value = value === "any" ? "" : value;
    }
    show();
  }

  filters.addEventListener("input", () => (show(), remember()));
  document.getElementById("clear").addEventListener("click", () => (filters.reset(), show(), remember()));
  filters.addEventListener("submit", (event) => {
    event.preventDefault();
    list.querySelector(".card:not([hidden]) a")?.focus();
  });
  addEventListener("hashchange", recall);
  recall();
}

if (filters) gallery();
