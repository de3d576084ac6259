"use strict";
// Finding latents by word. Other scripts use `rank`; the field at the top of most pages is served here.

/** How well lines of text answer a query: 0 exactly, 1 at a word's start, 2 within; Infinity if a word is nowhere. */
function rank(lines, query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const ranks = words.map((word) =>
    Math.min(
      Infinity,
      ...lines.split("\n").map((line, place) => {
        if (line === word) return 0 + place / 1000;
        if (line.startsWith(word)) return 1 + place / 1000;
        return line.includes(word) ? 2 + place / 1000 : Infinity;
      }),
    ),
  );
  return Math.max(0, ...ranks);
}

function bestEntries(query, count) {
  const here = (entry) => Number(entry.variant !== document.body.dataset.variant); // this page's variant comes first
  return ENTRIES.map((entry) => ({ ...entry, rank: rank(entry.search, query) }))
    .filter((entry) => entry.rank < Infinity)
    .sort((one, other) => Math.floor(one.rank) - Math.floor(other.rank) || here(one) - here(other) || one.rank - other.rank)
    .slice(0, count);
}

/** The field with its list of suggestions, after the pattern "combobox with list autocomplete". */
function serveField(field, list) {
  const root = document.body.dataset.root;
  const several = new Set(ENTRIES.map((entry) => entry.variant)).size > 1;
  let selected = -1;

  function select(place) {
    selected = place;
    [...list.children].forEach((item, number) => item.setAttribute("aria-selected", number === place));
    if (place < 0) field.removeAttribute("aria-activedescendant");
    else field.setAttribute("aria-activedescendant", list.children[place].id);
  }

  function show(open) {
    list.hidden = !open;
    field.setAttribute("aria-expanded", open);
  }

  function suggest() {
    const found = field.value.trim() ? bestEntries(field.value, 7) : [];
    list.replaceChildren(...found.map((entry, number) => suggestion(entry, number)));
    select(-1);
    show(found.length > 0);
  }

  function suggestion(entry, number) {
    const item = document.createElement("li");
    item.id = `found-${number}`;
    item.setAttribute("role", "option");
    item.dataset.page = root + entry.page;
    const terms = document.createElement("span");
    terms.className = "quiet";
    terms.textContent = [...(several ? [entry.variant] : []), ...entry.search.split("\n").slice(1, 4)].join(", ");
    item.append(entry.title, terms);
    return item;
  }

  field.addEventListener("input", suggest);
  field.addEventListener("focus", suggest);
  field.addEventListener("blur", () => show(false));
  list.addEventListener("mousedown", (event) => {
    const item = event.target.closest("li");
    if (item) location.href = item.dataset.page;
  });
  field.addEventListener("keydown", (event) => {
    const count = list.children.length;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      if (!count) return;
      const step = event.key === "ArrowDown" ? 1 : -1;
      select(((selected < 0 && step < 0 ? 0 : selected) + step + count) % count);
      event.preventDefault();
    } else if (event.key === "Escape") {
      show(false);
    } else if (event.key === "Enter") {
      event.preventDefault();
      location.href = selected < 0
        ? `${document.body.dataset.gallery}#${new URLSearchParams({ q: field.value, name: "any" })}`
        : list.children[selected].dataset.page;
    }
  });
}

if (document.getElementById("found")) {
  serveField(document.getElementById("find"), document.getElementById("found"));
}
