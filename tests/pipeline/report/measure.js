// What a reader's eye, finger or screen reader would stumble over, measured in the page. Gives one line per fault.
() => {
  const parse = (colour) => {
    const [red, green, blue, alpha = 1] = colour.match(/[\d.e-]+/g).map(Number);
    const scale = colour.startsWith("color(") ? 1 : 255;
    return { channels: [red, green, blue].map((channel) => channel / scale), alpha };
  };
  const over = (top, under) => top.channels.map((channel, i) => channel * top.alpha + under[i] * (1 - top.alpha));
  const background = (element) => {
    const own = parse(getComputedStyle(element).backgroundColor);
    if (own.alpha === 1) return own.channels;
    return over(own, element.parentElement ? background(element.parentElement) : [1, 1, 1]);
  };
  const luminance = (channels) => {
    const [red, green, blue] = channels.map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const contrast = (element) => {
    const under = background(element);
    const colour = over(parse(getComputedStyle(element).color), under);
    const [low, high] = [luminance(under), luminance(colour)].sort((one, other) => one - other);
    return (high + 0.05) / (low + 0.05);
  };
  const visible = (element) => element.checkVisibility({ visibilityProperty: true, contentVisibilityAuto: true });
  const shown = (element) => `<${element.localName} class="${element.className}"> ${element.textContent.trim().slice(0, 30)}`;
  const faults = [];

  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const texts = new Set();
  while (walker.nextNode()) if (walker.currentNode.data.trim()) texts.add(walker.currentNode.parentElement);
  for (const element of texts) {
    if (!visible(element) || element.closest("svg")) continue;
    const size = parseFloat(getComputedStyle(element).fontSize);
    if (contrast(element) < (size >= 24 ? 3 : 4.5)) faults.push(`contrast ${contrast(element).toFixed(2)}: ${shown(element)}`);
    if (size < 11) faults.push(`${size} px: ${shown(element)}`);
  }

  const { scrollWidth, clientWidth } = document.documentElement;
  if (scrollWidth > clientWidth) faults.push(`scrolls sideways: ${scrollWidth} px on ${clientWidth}`);

  for (const control of document.querySelectorAll("a, button, input, select, summary")) {
    if (!visible(control)) continue;
    const label = control.getAttribute("aria-label") ?? control.labels?.[0]?.textContent ?? control.textContent;
    if (!label.trim()) faults.push(`no label: ${control.outerHTML.slice(0, 80)}`);
    const { width, height } = control.getBoundingClientRect();
    const inText = getComputedStyle(control).display === "inline";
    if (!inText && control.type !== "checkbox" && !control.matches(".skip") && Math.min(width, height) < 24 && control.textContent.length > 1)
      faults.push(`${width.toFixed()} x ${height.toFixed()} px: ${shown(control)}`);
  }
  return faults;
}
