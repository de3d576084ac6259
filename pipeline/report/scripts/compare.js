"use strict";
// Choosing a word of a caption paints where every variant's plan sends it. The chosen word is part of the address.

const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVW";
const specimens = document.getElementById("specimens");

function painter({ scale, rows, columns }) {
  const colours = scale.split(" ").map((hex) => [1, 3, 5].map((place) => parseInt(hex.slice(place, place + 2), 16)));
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [columns, rows];
  const context = canvas.getContext("2d");
  return (map) => {
    const pixels = context.createImageData(canvas.width, canvas.height);
    [...map].forEach((digit, patch) => pixels.data.set([...colours[DIGITS.indexOf(digit)], 255], 4 * patch));
    context.putImageData(pixels, 0, 0);
    return canvas.toDataURL();
  };
}

function compare() {
  const paint = painter(specimens.dataset);
  const columns = Number(specimens.dataset.columns);

  function choose(button) {
    const section = button.closest("section");
    section.querySelectorAll("button").forEach((word) => word.setAttribute("aria-pressed", word === button));
    const maps = JSON.parse(section.querySelector(".variants").dataset.maps);
    section.querySelectorAll("figure[data-variant]").forEach((figure) => {
      const map = maps[figure.dataset.variant][button.dataset.word];
      const strongest = [...map].sort().at(-1);
      const peak = map.indexOf(strongest);
      const box = figure.querySelector(".peak");
      figure.querySelector(".heat").src = paint(map);
      figure.querySelector(".empty").hidden = strongest !== "0";
      box.hidden = strongest === "0";
      box.style.setProperty("--x", peak % columns);
      box.style.setProperty("--y", Math.floor(peak / columns));
    });
  }

  function recall() {
    const [, pair, word] = location.hash.match(/^#(pair-\d+)\.(\d+)$/) ?? [];
    const button = pair && document.querySelector(`#${pair} button[data-word="${word}"]`);
    if (!button) return;
    choose(button);
    button.closest("section").scrollIntoView();
  }

  specimens.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    choose(button);
    history.replaceState(null, "", `#${button.closest("section").id}.${button.dataset.word}`);
  });
  addEventListener("hashchange", recall);
  recall();
}

if (specimens) compare();
